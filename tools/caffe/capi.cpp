// A plain C interface to Caffe's Net, Blob, Layer and Solver, which _caffe.py calls by way of ctypes.
//
// A handle is a pointer to a shared_ptr, so that whatever Python still holds stays alive. Python keeps it in a capsule,
// whose end calls one of the functions `free`. A function that can fail returns -1 or NULL if an exception was thrown,
// and caffe_error() then says why.
#include <sys/stat.h>

#include <fstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "caffe/caffe.hpp"
#include "caffe/layers/memory_data_layer.hpp"
#include "caffe/sgd_solvers.hpp"

using namespace caffe;  // NOLINT
typedef shared_ptr<Net<float> > NetPtr;
typedef shared_ptr<Blob<float> > BlobPtr;
typedef shared_ptr<SyncedMemory> MemoryPtr;
typedef shared_ptr<Solver<float> > SolverPtr;

static thread_local std::string error, protobuf_words;

// protobuf says in its log what is wrong with a file, and where; Caffe's own check only says that it is wrong.
static google::protobuf::LogHandler* const default_handler =
    google::protobuf::SetLogHandler([](google::protobuf::LogLevel level, const char*, int, const std::string& message) {
      if (level >= google::protobuf::LOGLEVEL_ERROR) protobuf_words += " " + message;
    });

template <typename F>
static int attempt(F body) {
  protobuf_words.clear();
  try {
    body();
    return 0;
  } catch (const std::bad_alloc&) {
    error = "out of memory";
  } catch (const std::exception& e) {
    error = e.what() + protobuf_words;
  } catch (...) {
    error = "an unknown C++ exception";
  }
  return -1;
}

template <typename F>
static auto make(F body) -> decltype(body()) {
  decltype(body()) made = nullptr;
  attempt([&] { made = body(); });
  return made;
}

static const char* readable(const char* file) {
  struct stat status;
  const bool folder = stat(file, &status) == 0 && S_ISDIR(status.st_mode);
  if (folder || !std::ifstream(file).good()) throw std::runtime_error(std::string("Could not open file ") + file);
  return file;
}

static vector<int> to_shape(const int* dims, int axes) { return vector<int>(dims, dims + axes); }

typedef void* (*GetPointer)(void* capsule, const char* name);
static GetPointer get_pointer;  // Python's PyCapsule_GetPointer: this library is not linked to any one Python

template <typename T>
static void release(void* capsule) {
  delete static_cast<T*>(get_pointer(capsule, nullptr));
}

#define API extern "C" __attribute__((visibility("default")))

API void caffe_set_get_pointer(GetPointer function) { get_pointer = function; }
API const char* caffe_error() { return error.c_str(); }
API const char* caffe_layer_types() {
  static thread_local std::string types;
  types.clear();
  for (const string& type : LayerRegistry<float>::LayerTypeList()) types += type + "\n";
  return types.c_str();
}
API int caffe_warn(const char* message) {
  return attempt([=] { LOG(WARNING) << message; });
}
API int caffe_set_mode(int gpu) {
  return attempt([=] {
    CHECK(!gpu) << "this Caffe has no GPU mode";
    Caffe::set_mode(Caffe::CPU);
  });
}
API int caffe_set_device(int id) {
  return attempt([=] { Caffe::SetDevice(id); });
}
API int caffe_set_random_seed(unsigned seed) {
  return attempt([=] { Caffe::set_random_seed(seed); });
}

API NetPtr* caffe_net_new(const char* file, int phase, int level, const char* const* stages, int count) {
  return make([=] {
    vector<string> names(stages, stages + count);
    return new NetPtr(new Net<float>(readable(file), static_cast<Phase>(phase), level, &names));
  });
}
API void caffe_net_free(void* capsule) { release<NetPtr>(capsule); }
API int caffe_net_copy_from(NetPtr* net, const char* file) {
  return attempt([=] { (*net)->CopyTrainedLayersFrom(string(readable(file))); });
}
API int caffe_net_share_with(NetPtr* net, NetPtr* other) {
  return attempt([=] { (*net)->ShareTrainedLayersWith(other->get()); });
}
API int caffe_net_save(NetPtr* net, const char* file) {
  return attempt([=] {
    NetParameter param;
    (*net)->ToProto(&param, false);
    WriteProtoToBinaryFile(param, file);
  });
}
API int caffe_net_forward(NetPtr* net, int start, int end, float* loss) {
  return attempt([=] { *loss = (*net)->ForwardFromTo(start, end); });
}
API int caffe_net_backward(NetPtr* net, int start, int end) {
  return attempt([=] { (*net)->BackwardFromTo(start, end); });
}
API int caffe_net_reshape(NetPtr* net) {
  return attempt([=] { (*net)->Reshape(); });
}
API int caffe_net_clear_param_diffs(NetPtr* net) {
  return attempt([=] { (*net)->ClearParamDiffs(); });
}
API int caffe_net_set_input_arrays(NetPtr* net, float* data, float* labels, int count, const int* shape) {
  return attempt([=] {
    MemoryDataLayer<float>* layer = dynamic_cast<MemoryDataLayer<float>*>((*net)->layers()[0].get());
    CHECK(layer) << "set_input_arrays may only be called if the first layer is a MemoryDataLayer";
    CHECK_EQ(shape[0], layer->channels()) << "data array has wrong number of channels";
    CHECK_EQ(shape[1], layer->height()) << "data array has wrong height";
    CHECK_EQ(shape[2], layer->width()) << "data array has wrong width";
    CHECK_EQ(count % layer->batch_size(), 0) << "first dimensions of input arrays must be a multiple of batch size";
    layer->Reset(data, labels, count);
  });
}

API int caffe_net_layers(NetPtr* net) { return (*net)->layers().size(); }
API const char* caffe_net_layer_name(NetPtr* net, int layer) { return (*net)->layer_names()[layer].c_str(); }
API const char* caffe_net_layer_type(NetPtr* net, int layer) { return (*net)->layers()[layer]->type(); }
API int caffe_net_layer_blobs(NetPtr* net, int layer) { return (*net)->layers()[layer]->blobs().size(); }
API BlobPtr* caffe_net_layer_blob(NetPtr* net, int layer, int i) {
  return new BlobPtr((*net)->layers()[layer]->blobs()[i]);
}
API BlobPtr* caffe_net_add_layer_blob(NetPtr* net, int layer, const int* shape, int axes) {
  return make([=] {
    BlobPtr blob(new Blob<float>(to_shape(shape, axes)));
    (*net)->layers()[layer]->blobs().push_back(blob);
    return new BlobPtr(blob);
  });
}
API int caffe_net_blobs(NetPtr* net) { return (*net)->blobs().size(); }
API const char* caffe_net_blob_name(NetPtr* net, int i) { return (*net)->blob_names()[i].c_str(); }
API float caffe_net_blob_loss_weight(NetPtr* net, int i) { return (*net)->blob_loss_weights()[i]; }
API BlobPtr* caffe_net_blob(NetPtr* net, int i) { return new BlobPtr((*net)->blobs()[i]); }
// The numbers of the blobs that a layer reads ('b') or writes ('t'), or of the net's inputs ('i') or outputs ('o').
API int caffe_net_ids(NetPtr* net, char which, int layer, const int** ids) {
  if ((which == 'b' || which == 't') && (layer < 0 || layer >= caffe_net_layers(net))) return error = "no such layer", -1;
  const vector<int>& found = which == 'b'   ? (*net)->bottom_ids(layer)
                             : which == 't' ? (*net)->top_ids(layer)
                             : which == 'i' ? (*net)->input_blob_indices()
                                            : (*net)->output_blob_indices();
  *ids = found.data();
  return found.size();
}

API void caffe_blob_free(void* capsule) { release<BlobPtr>(capsule); }
API int caffe_blob_shape(BlobPtr* blob, const int** dims) {
  *dims = (*blob)->shape().data();
  return (*blob)->num_axes();
}
API int caffe_blob_reshape(BlobPtr* blob, const int* shape, int axes) {
  return attempt([=] { (*blob)->Reshape(to_shape(shape, axes)); });
}
// The numbers of a blob ('v' for its data, 'd' for its diff), which stay where they are while the handle lives.
API MemoryPtr* caffe_blob_memory(BlobPtr* blob, char which, float** address) {
  return make([=] {
    *address = which == 'd' ? (*blob)->mutable_cpu_diff() : (*blob)->mutable_cpu_data();
    return new MemoryPtr(which == 'd' ? (*blob)->diff() : (*blob)->data());
  });
}
API void caffe_memory_free(void* capsule) { release<MemoryPtr>(capsule); }

class Callback : public Solver<float>::Callback {
 public:
  typedef void (*Function)();
  Callback(Function on_start, Function on_gradients_ready) : start_(on_start), ready_(on_gradients_ready) {}

 protected:
  void on_start() { start_(); }
  void on_gradients_ready() { ready_(); }

 private:
  Function start_, ready_;
};

API SolverPtr* caffe_solver_new(const char* type, const char* file) {  // type: "" takes the file's own
  return make([=] {
    SolverParameter param;
    ReadSolverParamsFromTextFileOrDie(readable(file), &param);
    if (*type) param.set_type(type);
    return new SolverPtr(SolverRegistry<float>::CreateSolver(param));
  });
}
API void caffe_solver_free(void* capsule) { release<SolverPtr>(capsule); }
API NetPtr* caffe_solver_net(SolverPtr* solver) { return new NetPtr((*solver)->net()); }
API int caffe_solver_test_nets(SolverPtr* solver) { return (*solver)->test_nets().size(); }
API NetPtr* caffe_solver_test_net(SolverPtr* solver, int i) { return new NetPtr((*solver)->test_nets()[i]); }
API int caffe_solver_iter(SolverPtr* solver) { return (*solver)->iter(); }
API int caffe_solver_step(SolverPtr* solver, int iterations) {
  return attempt([=] { (*solver)->Step(iterations); });
}
API int caffe_solver_solve(SolverPtr* solver, const char* resume) {
  return attempt([=] { (*solver)->Solve(resume); });
}
API int caffe_solver_restore(SolverPtr* solver, const char* file) {
  return attempt([=] { (*solver)->Restore(readable(file)); });
}
API int caffe_solver_snapshot(SolverPtr* solver) {
  return attempt([=] { (*solver)->Snapshot(); });
}
API int caffe_solver_apply_update(SolverPtr* solver) {
  struct Open : Solver<float> {
    using Solver<float>::ApplyUpdate;  // protected
  };
  return attempt([=] { ((*solver).get()->*(&Open::ApplyUpdate))(); });
}
API void caffe_solver_add_callback(SolverPtr* solver, Callback::Function start, Callback::Function ready) {
  (*solver)->add_callback(new Callback(start, ready));  // the solver keeps bare pointers and lives about as long
}
