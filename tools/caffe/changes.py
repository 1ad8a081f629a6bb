"""What is changed in Caffe's sources, as lists of (file, regular expression,
replacement).
"""
# ruff: noqa: E501, for regular expressions and C++ are easier to read in one line

import re

LAYERS = "src/caffe/layers/"

# To build it with today's tools, and to run it on them.
CHANGES = [
    # glog's messages below a warning stay away unless the user wants them
    (
        "python/caffe/__init__.py",
        r"\A",
        "import os\nos.environ.setdefault('GLOG_minloglevel', '1')\n",
    ),
    # today's scikit-image and NumPy; and both are imported only where they are used,
    # since that takes a second
    ("python/caffe/io.py", r"import skimage.io\nfrom scipy.ndimage import zoom\n", ""),
    (
        "python/caffe/io.py",
        r"    img = skimage\.(.*)as_grey=(.*)",
        r"    import skimage.io\n    img = skimage.\1as_gray=\2",
    ),
    (
        "python/caffe/io.py",
        r"( +)resized_std = resize\(",
        r"\1from skimage.transform import resize\n\g<0>",
    ),
    ("python/caffe/io.py", r"( +)resized_im = zoom\(", r"\1from scipy.ndimage import zoom\n\g<0>"),
    ("python/caffe/io.py", r"tostring\(\)", "tobytes()"),
    ("python/caffe/io.py", r"np.fromstring\((.*?)\)", r"np.frombuffer(\1).copy()"),
    # an explicit instantiation cannot be static, says clang
    ("src/caffe/util/nms.cpp", r"template\s+static", "template"),
    # the next line divides by it
    ("src/caffe/layers/base_conv_layer.cpp", r"group_ = .*\n", r"\g<0>  CHECK_GT(group_, 0);\n"),
    # a shape that is refused must leave the blob as it was
    (
        "src/caffe/blob.cpp",
        r"  CHECK_LE\(shape.size\(\), kMaxBlobAxes\);\n",
        r"""\g<0>  int count = 1;
  for (int n : shape) {
    CHECK_GE(n, 0);
    CHECK_LE(n, INT_MAX / std::max(count, 1)) << "blob size exceeds INT_MAX";
    count *= n;
  }
""",
    ),
    # memory that could not be had must not be asked for again when the blob is small
    (
        "src/caffe/blob.cpp",
        r"if \(count_ > capacity_\)",
        "if (count_ > capacity_ || (count_ < capacity_ && data_->head() == SyncedMemory::UNINITIALIZED))",
    ),
    # element-wise loops go over all cores; the numbers are the same
    (
        "include/caffe/util/mkl_alternate.hpp",
        re.escape("for (int i = 0; i < n; ++i) { operation; }"),
        "caffe_share(n, [=](int begin, int end) { for (int i = begin; i < end; ++i) { operation; } });",
    ),
]

# Caffe trusts what it reads. Here it says no where it would read or write beyond its
# memory, divide by zero or never end. A search with an address sanitizer over every
# field of every layer found these; no number changes.
CHECKS = [
    # For every layer: what it reads is not empty (many divide by a count), what it
    # writes in place keeps its shape, no weights are reshaped, and there is no backward
    # pass after a reshape or a failed forward pass.
    (
        "include/caffe/layer.hpp",
        r"    CheckBlobCounts\(bottom, top\);\n    LayerSetUp\(bottom, top\);\n    Reshape\(bottom, top\);\n",
        """    CheckBlobCounts(bottom, top);
    const Shapes shapes = GetShapes(bottom);
    CheckNotEmpty(bottom);
    LayerSetUp(bottom, top);
    Reshape(bottom, top);
    CHECK(GetShapes(bottom) == shapes) << type() << " layer cannot work in place";
    bottom_shapes_ = shapes;
    top_shapes_ = GetShapes(top);
    param_counts_.clear();
    for (const shared_ptr<Blob<Dtype> >& blob : blobs_) param_counts_.push_back(blob ? blob->count() : 0);
""",
    ),
    (
        "include/caffe/layer.hpp",
        r"  /\*\*\n   \* @brief Does layer-specific setup",
        r"""  typedef vector<vector<int> > Shapes;
  void ReshapeSafely(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
    backward_allowed_ = false;  // unless all of this works
    CheckParams();
    CheckNotEmpty(bottom);
    const Shapes shapes = GetShapes(bottom);
    Reshape(bottom, top);
    CHECK(GetShapes(bottom) == shapes) << type() << " layer cannot work in place";
    bottom_shapes_ = shapes;
    top_shapes_ = GetShapes(top);
    backward_allowed_ = true;
  }
  static Shapes GetShapes(const vector<Blob<Dtype>*>& blobs) {
    Shapes shapes;
    for (const Blob<Dtype>* blob : blobs) shapes.push_back(blob->shape());
    return shapes;
  }
  void CheckNotEmpty(const vector<Blob<Dtype>*>& bottom) const {
    for (const Blob<Dtype>* blob : bottom) CHECK_GT(blob->count(), 0) << type() << " layer reads an empty blob";
  }
  void CheckParams() const {
    for (int i = 0; i < param_counts_.size(); ++i) {
      CHECK_EQ(blobs_[i] ? blobs_[i]->count() : 0, param_counts_[i]) << type() << " layer: its weights were reshaped";
    }
  }
  Shapes bottom_shapes_, top_shapes_;
  vector<int> param_counts_;
  bool backward_allowed_ = true;

\g<0>""",
    ),
    (
        "include/caffe/layer.hpp",
        r"  Reshape\(bottom, top\);\n  switch",
        "  ReshapeSafely(bottom, top);\n  backward_allowed_ = false;\n  switch",
    ),
    (
        "include/caffe/layer.hpp",
        r"    Forward_cpu\(bottom, top\);\n    for",
        "    Forward_cpu(bottom, top);\n    top_shapes_ = GetShapes(top);\n    backward_allowed_ = true;\n    for",
    ),
    (
        "include/caffe/layer.hpp",
        r"(const vector<Blob<Dtype>\*>& bottom\) \{\n)(  switch \(Caffe::mode\(\)\) \{\n  case Caffe::CPU:\n    Backward)",
        r"""\1  CheckParams();
  CHECK(backward_allowed_ && GetShapes(bottom) == bottom_shapes_ && GetShapes(top) == top_shapes_)
      << "run forward before backward: a blob was reshaped, or the last forward pass failed";
\2""",
    ),
    ("src/caffe/net.cpp", r"(layers_\[i\]->)Reshape(\(bottom_vecs_)", r"\1ReshapeSafely\2"),
    # weights written into a prototxt: after the layer knows their shapes, not before
    (
        "include/caffe/layer.hpp",
        r"(?s)      if \(layer_param_.blobs_size\(\) > 0\) \{.*?\n      \}\n",
        "",
    ),
    (
        "include/caffe/layer.hpp",
        r"    SetLossWeights\(top\);\n",
        r"""    if (layer_param_.blobs_size() > 0) {
      CHECK_EQ(layer_param_.blobs_size(), blobs_.size()) << "Incorrect number of weight blobs.";
      for (int i = 0; i < blobs_.size(); ++i) blobs_[i]->FromProto(layer_param_.blobs(i), false);
    }
\g<0>""",
    ),
    # types that do not declare how many blobs they read and write
    (
        "include/caffe/layer.hpp",
        r"    if \(ExactNumBottomBlobs\(\) >= 0\) \{\n",
        r"""    const string kind = type();
    const bool one = kind == "PixelShuffle" || kind == "Upsample";
    const bool two = kind == "PriorBox" || kind == "DetectionEvaluate";
    if (one || two || kind == "ProposalLayer") {
      CHECK_EQ(bottom.size(), one ? 1 : two ? 2 : 3) << kind << " layer reads another number of blobs";
      CHECK_GE(top.size(), 1) << kind << " layer writes a blob";
    }
\g<0>""",
    ),
    # convolutions: 0 as stride_h, and sizes that overflow
    (
        LAYERS + "base_conv_layer.cpp",
        r"  // Special case: im2col is the identity",
        r"""  for (int i = 0; i < num_spatial_axes_; ++i) {
    CHECK_GT(stride_data[i], 0) << "Stride dimensions must be nonzero.";
    CHECK(kernel_shape_data[i] > 0 && pad_data[i] >= 0 && dilation_data[i] >= 0) << "Dimensions must not be so large.";
  }
\g<0>""",
    ),
    (
        LAYERS + "conv_layer.cpp",
        r"    const int kernel_extent = dilation",
        r"""    CHECK_LE(input_dim + 2L * pad_data[i], INT_MAX) << "Padding too large.";
    CHECK_LE(1L * dilation_data[i] * (kernel_shape_data[i] - 1), INT_MAX / 2) << "Kernel too large.";
\g<0>""",
    ),
    (
        LAYERS + "deconv_layer.cpp",
        r"    const int kernel_extent = dilation",
        r"""    CHECK_LE(1L * dilation_data[i] * (kernel_shape_data[i] - 1), INT_MAX / 4) << "Kernel too large.";
    CHECK_LE(1L * stride_data[i] * input_dim, INT_MAX / 4) << "Stride too large.";
    CHECK_LE(pad_data[i], INT_MAX / 4) << "Padding too large.";
\g<0>""",
    ),
    (
        LAYERS + "im2col_layer.cpp",
        r"    top_shape\[channel_axis_\] \*= kernel_shape_data\[i\];\n",
        r"""    CHECK(kernel_shape_data[i] > 0 && stride_data[i] > 0 && pad_data[i] >= 0 && dilation_data[i] >= 0)
        << "Dimensions must not be zero or so large.";
    CHECK_LE(1L * top_shape[channel_axis_] * kernel_shape_data[i], INT_MAX) << "Kernel too large.";
    CHECK_LE(1L * dilation_data[i] * (kernel_shape_data[i] - 1), INT_MAX / 2) << "Kernel too large.";
    CHECK_LE(bottom[0]->shape(channel_axis_ + i + 1) + 2L * pad_data[i], INT_MAX) << "Padding too large.";
\g<0>""",
    ),
    # pooling: sizes that overflow; and where no number is larger than -FLT_MAX (NaN, or
    # a window beside the picture), the mask is -1 and the gradient was written there,
    # before the blob
    (
        LAYERS + "pooling_layer.cpp",
        r"  if \(global_pooling_\) \{\n    CHECK\(pad_h_",
        r"""  for (int size : {kernel_h_, kernel_w_, stride_h_, stride_w_, pad_h_ + 1, pad_w_ + 1}) {
    CHECK(size > 0 && size < (1 << 28)) << "Filter, stride and pad dimensions must not be zero or so large.";
  }
\g<0>""",
    ),
    (
        LAYERS + "pooling_layer.cpp",
        r"( +)(bottom_diff\[bottom_index\] \+= top_diff\[index\];)",
        r"\1if (bottom_index >= 0 && bottom_index < height_ * width_) \2",
    ),
    # labels and other indices that are read from a blob
    (
        LAYERS + "softmax_loss_layer.cpp",
        r"( +)bottom_diff\[i \* dim \+ label_value",
        r'\1CHECK(label_value >= 0 && label_value < prob_.shape(softmax_axis_)) << "there is no label " << label_value;\n\g<0>',
    ),
    (
        LAYERS + "batch_reindex_layer.cpp",
        r"  Dtype\* bot_diff = ",
        r"  check_batch_reindex(bottom[0]->shape(0), bottom[1]->count(), bottom[1]->cpu_data());\n\g<0>",
    ),
    (
        LAYERS + "accuracy_layer.cpp",
        r"(      if \(top.size\(\) > 1\) \+\+nums_buffer_.*\n)((?:      DCHECK_.*\n){2})",
        r"\2\1",
    ),
    (LAYERS + "accuracy_layer.cpp", r"  CHECK_LE\(top_k_", r"  CHECK_GE(top_k_, 0);\n\g<0>"),
    (
        LAYERS + "argmax_layer.cpp",
        r"  int num = bottom\[0\]->count\(\) / dim;",
        r"  CHECK_LE(top_k_, dim);\n\g<0>",
    ),
    (
        LAYERS + "hinge_loss_layer.cpp",
        r"( +)(bottom_diff\[i \* dim \+ )static_cast<int>\(label\[i\]\)\]",
        r"""\1const int at = static_cast<int>(label[i]);
\1CHECK(at >= 0 && at < dim) << "there is no label " << label[i];
\1\2at]""",
    ),
    *(
        (
            LAYERS + f"{kind}_loss_layer.cpp",
            r"int label = static_cast<int>\(bottom_label\[i\]\);",
            r'\g<0> CHECK(label >= 0 && label < dim) << "there is no label " << label;',
        )
        for kind in ("infogain", "multinomial_logistic")
    ),
    (
        LAYERS + "contrastive_loss_layer.cpp",  # in the forward pass and in the backward pass
        r"  int count = bottom\[0\]->count\(\);\n|  for \(int i = 0; i < 2; \+\+i\) \{\n    if \(propagate_down",
        r"""  CHECK_LE(bottom[0]->count(), diff_.count()) << "ContrastiveLoss cannot grow";
  CHECK_EQ(bottom[0]->count(), bottom[1]->count());
  CHECK_EQ(bottom[0]->num(), bottom[2]->count());
\g<0>""",
    ),
    (
        LAYERS + "filter_layer.cpp",
        r"(bottom|top)\[([it])\]->count\(\) / (bottom|top)\[[it]\]->shape\(0\)",
        r"\1[\2]->count(1)",
    ),
    (
        LAYERS + "maxunpool_layer.cpp",
        r"(?s)const int idx = .*?\}",
        r"""const int idx = static_cast<int>(bottom_mask_data[i]);
        CHECK(idx >= 0 && idx < unpooled_height_ * unpooled_width_) << "unpool index " << idx << " out of range";""",
    ),
    (
        LAYERS + "maxunpool_layer.cpp",
        r"  channels_ = bottom\[0\]->channels\(\);",
        r"  CHECK(bottom[0]->shape() == bottom[1]->shape()) << "
        r'"the mask must have the shape of the data";\n\g<0>',
    ),
    # shapes; the first two are Caffe's own checks, which this copy of it has commented
    # out
    (
        LAYERS + "eltwise_layer.cpp",
        r"  // for(.*\n)  // .*\n  // \}",
        r'  for\1    CHECK_EQ(bottom[i]->count(), bottom[0]->count()) << "Eltwise needs equal shapes";\n  }',
    ),
    (
        LAYERS + "scale_layer.cpp",
        r"  scale_dim_ = scale->count\(\);\n",
        r'\g<0>  CHECK_EQ(scale_dim_, bottom[0]->count(axis_, axis_ + scale->num_axes())) << "scale has another shape";\n',
    ),
    (
        LAYERS + "memory_data_layer.cpp",
        r"  CHECK_GT\(batch_size_ \* size_, 0\)",
        r"  Blob<Dtype>(batch_size_, channels_, height_, width_);\n\g<0>",
    ),
    (
        LAYERS + "scale_layer.cpp",
        r"(CHECK_GE\(bottom\[0\]->num_axes\(\)), axis_ \+ (num_axes\))",
        r"\1 - axis_, \2",
    ),
    (
        LAYERS + "bias_layer.cpp",
        r"(CHECK_GE\(bottom\[0\]->num_axes\(\)), axis \+ (num_axes\))",
        r"\1 - axis, \2",
    ),
    (
        LAYERS + "reshape_layer.cpp",
        r"  CHECK_GE\(num_axes, -1\).*\n",
        r'\g<0>  CHECK_LE(num_axes, bottom[0]->num_axes()) << "end_axis = axis + num_axes is out of range";\n',
    ),
    (
        LAYERS + "reshape_layer.cpp",
        r"    CHECK_EQ\(0, bottom\[0\]->count\(\) % explicit_count\)",
        r"    CHECK_GT(explicit_count, 0);\n\g<0>",
    ),
    (
        LAYERS + "tile_layer.cpp",
        r"  vector<int> top_shape = bottom",
        r'  CHECK_LE(tiles_, INT_MAX / bottom[0]->shape(axis_)) << "Too many tiles.";\n\g<0>',
    ),
    (
        LAYERS + "spp_layer.cpp",
        r"  pyramid_height_ = spp_param.pyramid_height\(\);\n  split",
        """  pyramid_height_ = spp_param.pyramid_height();
  CHECK(pyramid_height_ > 0 && pyramid_height_ < 16) << "pyramid_height must be from 1 to 15";
  split""",
    ),
    (
        LAYERS + "unsqueeze.cpp",
        r"    caffe_copy",
        r'    CHECK_EQ(bottom[0]->count(), top[0]->count()) << "Unsqueeze keeps its first shape";\n\g<0>',
    ),
    (
        LAYERS + "pixelshuffle_layer.cpp",
        r"        CHECK_EQ\(bottom\[0\]->shape\(1\) % upscale_factor_, 0\);",
        r"""        CHECK_EQ(bottom[0]->num_axes(), 4);
        CHECK(upscale_factor_ > 0 && upscale_factor_ < (1 << 15)) << "upscale_factor must be above 0";
        CHECK_EQ(bottom[0]->shape(1) % (upscale_factor_ * upscale_factor_), 0);
        CHECK_LE(1L * upscale_factor_ * std::max(bottom[0]->height(), bottom[0]->width()), INT_MAX);""",
    ),
    (
        LAYERS + "upsample_layer.cpp",
        r"        vector<int> out_shape;\n",
        r"""\g<0>        CHECK_EQ(bottom[0]->num_axes(), dims_num);
        CHECK_GT(scale_, 0);
        for (int n : bottom[0]->shape()) CHECK_LE(scale_, INT_MAX / n);
""",
    ),
    (
        LAYERS + "bilinear_interpolate_layer.cpp",
        r"        // align\n",
        r"""        CHECK((param.has_dst_h() || param.has_dst_w()) != param.has_scale_factor()) << "give dst_h, dst_w or scale_factor";
\g<0>""",
    ),
    (
        LAYERS + "bilinear_interpolate_layer.cpp",
        r"(?s)(int src_w = bottom\[0\]->width\(\);\n)",
        r'\1\tCHECK(src_h > 1 && src_w > 1) << "BilinearInterpolate needs 2 rows and 2 columns";\n',
    ),
    (
        LAYERS + "pad_layer.cpp",
        r"  pad_value_ = ",
        r"""  const bool cuts = pad_u_ < 0 && pad_d_ < 0 && pad_l_ < 0 && pad_r_ < 0;
  for (int pad : {pad_u_, pad_d_, pad_l_, pad_r_}) {
    CHECK(pad > -(1 << 28) && pad < (1 << 28)) << "padding too large";
    CHECK(cuts || pad >= 0) << "all paddings must be below 0 or none";
  }
  if (this->layer_param_.pad_param().pad_type() == PadParameter_PadType_REFLECT && !cuts) {
    CHECK(std::max(pad_u_, pad_d_) < bottom[0]->height() && std::max(pad_l_, pad_r_) < bottom[0]->width())
        << "a reflection must be smaller than the picture";
  }
\g<0>""",
    ),
    (
        LAYERS + "pad_layer.cpp",
        r"  int num_axes = bottom\[0\]->num_axes\(\);\n",
        r'\g<0>  CHECK_EQ(num_axes, 4) << "Pad works on 4 axes";\n',
    ),
    (
        LAYERS + "prelu_layer.cpp",
        r"  top\[0\]->ReshapeLike\(\*bottom\[0\]\);\n",
        r'  CHECK(channel_shared_ || bottom[0]->channels() == this->blobs_[0]->count()) << "PReLU has slopes for other channels";\n\g<0>',
    ),
    (
        LAYERS + "im2col_layer.cpp",
        r"  vector<int> top_shape = bottom\[0\]->shape\(\);\n",
        r"  CHECK_EQ(bottom[0]->num_axes(), channel_axis_ + 1 + num_spatial_axes_);\n\g<0>",
    ),
    (
        LAYERS + "permute_layer.cpp",
        r"  vector<int> top_shape;\n",
        r"  CHECK_EQ(bottom[0]->num_axes(), num_axes_);\n\g<0>",
    ),
    (
        LAYERS + "normalize_layer.cpp",
        r"  if \(!across_spatial_\) \{\n",
        r"""  CHECK_EQ(bottom[0]->channels(), sum_channel_multiplier_.count()) << "Normalize has another number of channels";
  if (across_spatial_) norm_.Reshape(bottom[0]->num(), 1, 1, 1);
\g<0>""",
    ),
    # detection
    (
        LAYERS + "prior_box_layer.cpp",
        r"  top_shape\[2\] = layer_width \* layer_height \* num_priors_ \* 4;\n",
        r"  CHECK_LE(1L * layer_width * layer_height, INT_MAX / 4 / std::max(num_priors_, 1)) << "
        r'"too many priors";\n\g<0>',
    ),
    (
        LAYERS + "detection_evaluate_layer.cpp",
        r"  overlap_threshold_ = ",
        r"""  CHECK(background_label_id_ >= -1 && background_label_id_ < num_classes_) << "there is no such background label";
\g<0>""",
    ),
    (
        LAYERS + "detection_output_layer.cpp",
        r"  num_priors_ = bottom\[2\]->height\(\) / 4;\n",
        r"\g<0>  CHECK_LE(num_priors_ * 8L, bottom[2]->count());\n",
    ),
    (
        LAYERS + "multibox_loss_layer.cpp",
        r"  num_gt_ = bottom\[3\]->height\(\);\n",
        r"\g<0>  CHECK_LE(num_priors_ * 8L, bottom[2]->count());\n  CHECK_LE(num_gt_ * 8L, bottom[3]->count());\n",
    ),
    (
        LAYERS + "multibox_loss_layer.cpp",
        r"  // Back propagate on location prediction.\n",
        r'  CHECK_EQ(all_match_indices_.size(), num_) << "run forward before backward";\n\g<0>',
    ),
    (
        LAYERS + "proposal_layer.cpp",
        r"  vector<int> anchors_shape\(2\);\n",
        r'  CHECK(ratios.size() > 0 && scales.size() > 0) << "Proposal needs a ratio and a scale";\n\g<0>',
    ),
    (
        LAYERS + "proposal_layer.cpp",
        r"  const Dtype \*p_bottom_item = bottom",
        r"""  const int anchors = anchors_.shape(0);
  CHECK(pre_nms_topn_ > 0 && post_nms_topn_ > 0);
  CHECK_EQ(bottom[0]->channels(), 2 * anchors);
  CHECK_EQ(bottom[1]->channels(), 4 * anchors);
  CHECK_EQ(bottom[0]->num(), bottom[1]->num());
  CHECK_EQ(bottom[0]->height(), bottom[1]->height());
  CHECK_EQ(bottom[0]->width(), bottom[1]->width());
  CHECK_GE(bottom[2]->count(), 2);
\g<0>""",
    ),
    # a sort that NaN cannot lead beyond the end
    (LAYERS + "detection_output_layer.cpp", r"std::sort\(", "std::stable_sort("),
    (LAYERS + "detection_evaluate_layer.cpp", r"std::sort\(", "std::stable_sort("),
    # Boost's generator never ends between -inf and inf
    (
        "src/caffe/util/math_functions.cpp",
        r"  CHECK_LE\(a, b\);\n",
        r'\g<0>  CHECK(std::isfinite(b - a)) << "no uniform numbers between " << a << " and " << b;\n',
    ),
]
