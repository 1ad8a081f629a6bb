"""Write models/*/deploy.prototxt from the tables of the two papers: python
tools/prototxt.py

GoogLeNet: Szegedy et al., "Going deeper with convolutions", table 1
(arxiv.org/abs/1409.4842). SqueezeNet v1.1: Iandola et al. (arxiv.org/abs/1602.07360),
as revised in github.com/forresti/SqueezeNet. Layer and blob names are the original
ones, because weights are looked up by them.

EfficientNet-Lite0: Tan and Le (arxiv.org/abs/1905.11946), as simplified in
github.com/tensorflow/tpu. MobileNet v2: Sandler et al. (arxiv.org/abs/1801.04381),
table 2. In both, batch normalization is folded into the convolutions when the weights
are read. They were trained with TensorFlow's "same" padding, which at an odd size is
the same on all sides, so their own sizes are odd here.
"""

from pathlib import Path

# name: 1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5, pool projection
INCEPTION = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}
# name: squeeze 1x1, expand (1x1 and 3x3 each)
FIRE = {
    2: (16, 64),
    3: (16, 64),
    4: (32, 128),
    5: (32, 128),
    6: (48, 192),
    7: (48, 192),
    8: (64, 256),
    9: (64, 256),
}
# channels, blocks, stride of the first, size of the kernel
LITE0 = [
    (16, 1, 1, 3),
    (24, 2, 2, 3),
    (40, 2, 2, 5),
    (80, 3, 2, 3),
    (112, 3, 1, 5),
    (192, 4, 2, 5),
    (320, 1, 1, 3),
]
MOBILE_V2 = [
    (16, 1, 1, 3),
    (24, 2, 2, 3),
    (32, 3, 2, 3),
    (64, 4, 2, 3),
    (96, 3, 1, 3),
    (160, 3, 2, 3),
    (320, 1, 1, 3),
]


class Prototxt:
    """Lines of a prototxt; each method adds one layer (a convolution with its ReLU) and
    returns its top's name.
    """

    def __init__(self, name: str, side: int) -> None:
        self.lines = [f'name: "{name}"']
        shape = f"dim: 10 dim: 3 dim: {side} dim: {side}"
        self.layer("data", "Input", [], f"input_param {{ shape {{ {shape} }} }}")

    def layer(
        self, name: str, type: str, bottoms: list[str], params: str = "", top: str | None = None
    ) -> str:
        top = top or name
        lines = [f'name: "{name}"', f'type: "{type}"']
        lines += [f'bottom: "{bottom}"' for bottom in bottoms]
        lines += [f'top: "{top}"', params]
        self.lines += ["layer {", *(f"  {line}" for line in lines if line), "}"]
        return top

    def conv(
        self,
        name: str,
        bottom: str,
        outputs: int,
        kernel: int,
        relu: str,
        pad: int = 0,
        stride: int = 1,
        slope: float = 0,
    ) -> str:
        params = f"num_output: {outputs} kernel_size: {kernel}"
        if pad:
            params += f" pad: {pad}"
        if stride != 1:
            params += f" stride: {stride}"
        self.layer(name, "Convolution", [bottom], f"convolution_param {{ {params} }}")
        leak = f"relu_param {{ negative_slope: {slope} }}" if slope else ""
        return self.layer(relu, "ReLU", [name], leak, top=name)

    def conv6(
        self, name: str, bottom: str, outputs: int, kernel: int = 1, stride: int = 1, group: int = 1
    ) -> str:
        """A convolution with a ReLU6, padded so that it keeps the size."""
        params = f"num_output: {outputs} kernel_size: {kernel}"
        if kernel > 1:
            params += f" pad: {kernel // 2}"
        if stride > 1:
            params += f" stride: {stride}"
        if group > 1:
            params += f" group: {group}"
        self.layer(name, "Convolution", [bottom], f"convolution_param {{ {params} }}")
        return self.layer(f"{name}/relu", "ReLU6", [name], top=name)

    def pool(self, name: str, bottom: str, params: str) -> str:
        return self.layer(name, "Pooling", [bottom], f"pooling_param {{ {params} }}")


def googlenet() -> str:
    net = Prototxt("GoogLeNet", 224)
    lrn = "lrn_param { local_size: 5 alpha: 0.0001 beta: 0.75 }"
    x = net.conv("conv1/7x7_s2", "data", 64, 7, "conv1/relu_7x7", pad=3, stride=2)
    x = net.pool("pool1/3x3_s2", x, "pool: MAX kernel_size: 3 stride: 2")
    x = net.layer("pool1/norm1", "LRN", [x], lrn)
    x = net.conv("conv2/3x3_reduce", x, 64, 1, "conv2/relu_3x3_reduce")
    x = net.conv("conv2/3x3", x, 192, 3, "conv2/relu_3x3", pad=1)
    x = net.layer("conv2/norm2", "LRN", [x], lrn)
    x = net.pool("pool2/3x3_s2", x, "pool: MAX kernel_size: 3 stride: 2")
    for module, (n1, n3r, n3, n5r, n5, proj) in INCEPTION.items():
        if module in ("4a", "5a"):
            number = int(module[0]) - 1
            x = net.pool(f"pool{number}/3x3_s2", x, "pool: MAX kernel_size: 3 stride: 2")
        name = f"inception_{module}/"
        one = net.conv(name + "1x1", x, n1, 1, name + "relu_1x1")
        three = net.conv(name + "3x3_reduce", x, n3r, 1, name + "relu_3x3_reduce")
        three = net.conv(name + "3x3", three, n3, 3, name + "relu_3x3", pad=1)
        five = net.conv(name + "5x5_reduce", x, n5r, 1, name + "relu_5x5_reduce")
        five = net.conv(name + "5x5", five, n5, 5, name + "relu_5x5", pad=2)
        pool = net.pool(name + "pool", x, "pool: MAX kernel_size: 3 stride: 1 pad: 1")
        pool = net.conv(name + "pool_proj", pool, proj, 1, name + "relu_pool_proj")
        x = net.layer(name + "output", "Concat", [one, three, five, pool])
    x = net.pool("pool5/7x7_s1", x, "pool: AVE kernel_size: 7 stride: 1")
    some = "dropout_param { dropout_ratio: 0.4 }"
    x = net.layer("pool5/drop_7x7_s1", "Dropout", [x], some, top=x)
    classes = "inner_product_param { num_output: 1000 }"
    x = net.layer("loss3/classifier", "InnerProduct", [x], classes)
    net.layer("prob", "Softmax", [x])
    return "\n".join(net.lines) + "\n"


def squeezenet(
    name: str = "SqueezeNet v1.1",
    side: int = 227,
    classes: int = 1000,
    pad: int = 0,
    slope: float = 0,
) -> str:
    """pad: of the first convolution. slope: of the ReLUs below zero."""
    net = Prototxt(name, side)
    x = net.conv("conv1", "data", 64, 3, "relu_conv1", pad=pad, stride=2, slope=slope)
    x = net.pool("pool1", x, "pool: MAX kernel_size: 3 stride: 2")
    for module, (squeeze, expand) in FIRE.items():
        fire = f"fire{module}/"
        relu = f"{fire}relu_"
        x = net.conv(fire + "squeeze1x1", x, squeeze, 1, relu + "squeeze1x1", slope=slope)
        one = net.conv(fire + "expand1x1", x, expand, 1, relu + "expand1x1", slope=slope)
        three = net.conv(fire + "expand3x3", x, expand, 3, relu + "expand3x3", 1, slope=slope)
        x = net.layer(fire + "concat", "Concat", [one, three])
        if module in (3, 5):
            x = net.pool(f"pool{module}", x, "pool: MAX kernel_size: 3 stride: 2")
    x = net.layer("drop9", "Dropout", [x], "dropout_param { dropout_ratio: 0.5 }", top=x)
    x = net.conv("conv10", x, classes, 1, "relu_conv10", slope=slope)
    x = net.pool("pool10", x, "pool: AVE global_pooling: true")
    net.layer("prob", "Softmax", [x])
    return "\n".join(net.lines) + "\n"


def squeezenet_places365() -> str:
    """As github.com/urbste/squeezenet_places365 has it, whose batch normalization is
    folded into the convolutions when its weights are read.
    """
    return squeezenet("SqueezeNet v1.1, Places365", 225, 365, pad=1, slope=0.55)


def mobile(name: str, side: int, stages: list[tuple[int, ...]], classes: int) -> str:
    """A stem, blocks that widen, look around and narrow again, and a head."""
    net = Prototxt(name, side)
    x = net.conv6("stem", "data", 32, 3, stride=2)
    width = 32
    number = 0
    for outputs, blocks, first_stride, kernel in stages:
        for stride in (first_stride, *[1] * (blocks - 1)):
            block = f"block{number}/"
            wide = 6 * width if number else width
            y = net.conv6(block + "expand", x, wide) if number else x
            y = net.conv6(block + "depthwise", y, wide, kernel, stride, group=wide)
            params = f"convolution_param {{ num_output: {outputs} kernel_size: 1 }}"
            y = net.layer(block + "project", "Convolution", [y], params)
            if stride == 1 and width == outputs:
                y = net.layer(block + "add", "Eltwise", [x, y])
            x = y
            width = outputs
            number += 1
    x = net.conv6("head", x, 1280)
    x = net.pool("pool", x, "pool: AVE global_pooling: true")
    params = f"inner_product_param {{ num_output: {classes} }}"
    x = net.layer("classes", "InnerProduct", [x], params)
    net.layer("prob", "Softmax", [x])
    return "\n".join(net.lines) + "\n"


def efficientnet_lite0() -> str:
    return mobile("EfficientNet-Lite0", 225, LITE0, 1000)


def mobilenet_v2_dogs() -> str:
    return mobile("MobileNet v2, dogs", 161, MOBILE_V2, 19)


NETWORKS = {
    "bvlc_googlenet": googlenet,
    "squeezenet_v1.1": squeezenet,
    "squeezenet_places365": squeezenet_places365,
    "efficientnet_lite0": efficientnet_lite0,
    "mobilenet_v2_dogs": mobilenet_v2_dogs,
}

if __name__ == "__main__":
    for folder, write in NETWORKS.items():
        path = Path(__file__).parent.parent / "models" / folder / "deploy.prototxt"
        path.parent.mkdir(exist_ok=True)
        path.write_text(write())
