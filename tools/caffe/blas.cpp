// Work that is spread over the processor's cores: OpenBLAS's matrix products, and the loops of mkl_alternate.hpp.
//
// OpenBLAS has threads of its own, but they wait busily: beside other programs, a pass took four times the processor
// time. So OpenBLAS runs with one thread, and a pool of threads that sleep while they wait computes pieces of a
// product. How a product is cut depends on its shape alone: the result is the same on any number of threads.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>

#include <cblas.h>

#define product scipy_cblas_sgemm  // OpenBLAS's own

extern "C" int scipy_openblas_get_num_threads();
extern "C" void scipy_openblas_set_num_threads(int);

namespace {

class Pool {
 public:
  static Pool& get() {
    static Pool* pool = new Pool;  // never deleted: its threads may still wait when the process ends
    return *pool;
  }

  // Call piece(0) ... piece(count - 1), on this thread and those of the pool, and return when all are done.
  void run(int count, const std::function<void(int)>& piece) {
    std::unique_lock<std::mutex> alone(running_, std::try_to_lock);
    if (!alone || helpers_ == 0 || count == 1) {  // another net has the pool
      for (int i = 0; i < count; ++i) piece(i);
      return;
    }
    {
      std::lock_guard<std::mutex> lock(mutex_);
      piece_ = &piece;
      count_ = count;
      next_ = 0;
      ++round_;
    }
    for (int i = std::min(count - 1, helpers_); i > 0; --i) wake_.notify_one();
    work();
    spin([this] { return working_ == 0; });
    std::unique_lock<std::mutex> lock(mutex_);
    done_.wait(lock, [this] { return working_ == 0; });
  }

 private:
  Pool() : helpers_(scipy_openblas_get_num_threads() - 1) {  // as OPENBLAS_NUM_THREADS or the machine has it
    scipy_openblas_set_num_threads(1);
    for (int i = 0; i < helpers_; ++i) std::thread([this] { help(); }).detach();
  }

  void work() {
    for (int i; (i = next_++) < count_;) (*piece_)(i);
  }

  void help() {
    std::unique_lock<std::mutex> lock(mutex_);
    for (unsigned long seen = 0;;) {
      lock.unlock();
      spin([&] { return round_ != seen; });
      lock.lock();
      wake_.wait(lock, [&] { return round_ != seen; });
      seen = round_;
      if (next_ >= count_) continue;  // too late
      ++working_;
      lock.unlock();
      work();
      lock.lock();
      if (--working_ == 0) done_.notify_one();
    }
  }

  // The next product mostly follows at once, and to wake a thread takes about this long.
  template <typename F>
  static void spin(F ready) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::microseconds(200);
    while (!ready() && std::chrono::steady_clock::now() < end) {
    }
  }

  const int helpers_;
  const std::function<void(int)>* piece_ = nullptr;
  int count_ = 0;
  std::atomic<int> next_{0}, working_{0};
  std::atomic<unsigned long> round_{0};
  std::mutex running_, mutex_;
  std::condition_variable wake_, done_;
};

}  // namespace

void caffe_share(int count, const std::function<void(int, int)>& loop) {
  const int size = 1 << 16;
  const int pieces = (count - 1) / size + 1;
  Pool::get().run(pieces, [&](int i) { loop(i * size, i == pieces - 1 ? count : (i + 1) * size); });
}

void caffe_sgemm(CBLAS_ORDER order, CBLAS_TRANSPOSE trans_a, CBLAS_TRANSPOSE trans_b, int m, int n, int k, float alpha,
                 const float* a, int lda, const float* b, int ldb, float beta, float* c, int ldc) {
  // C is cut along its longer side. A piece has at least 2 million multiplications and 96 rows or columns, so that what
  // OpenBLAS does once for each call stays small, and whole groups of 64, since its kernels compute in such groups.
  const bool by_columns = n >= m;
  const long length = by_columns ? n : m, other = by_columns ? m : n;
  long size = std::max(96L, 2000000 / (1 + other * k));
  const int pieces = std::max(1L, (length + size / 2) / size);
  size = ((length - 1) / pieces / 64 + 1) * 64;
  Pool::get().run(pieces, [=](int i) {
    const long from = i * size, count = std::min(size, length - from);
    if (count <= 0) return;
    if (by_columns)
      product(order, trans_a, trans_b, m, count, k, alpha, a, lda, b + from * (trans_b == CblasNoTrans ? 1 : ldb), ldb,
              beta, c + from, ldc);
    else
      product(order, trans_a, trans_b, count, n, k, alpha, a + from * (trans_a == CblasNoTrans ? lda : 1), lda, b, ldb,
              beta, c + from * ldc, ldc);
  });
}
