// Boost's threads, which can be interrupted while they wait, on std's.
//
// If one of Caffe's own threads fails, the next thread that waits for its data throws the same error.
#pragma once
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>

#include "boost/shared_ptr.hpp"

namespace boost {

class thread_interrupted {};

class mutex : public std::mutex {
 public:
  typedef std::unique_lock<std::mutex> scoped_lock;
};

class thread {
 public:
  template <typename F, typename... A>
  explicit thread(F function, A... arguments)
      : interrupted_(std::make_shared<std::atomic<bool>>(false)),
        thread_([interrupted = interrupted_, function, arguments...] {
          current() = interrupted.get();
          try {
            std::mem_fn(function)(arguments...);
          } catch (const thread_interrupted&) {
          } catch (...) {
            std::lock_guard<std::mutex> lock(failure_mutex());
            failure() = std::current_exception();
          }
        }) {}
  ~thread() {
    if (joinable()) thread_.detach();
  }
  void interrupt() { *interrupted_ = true; }
  bool interruption_requested() const { return *interrupted_; }
  bool joinable() const { return thread_.joinable(); }
  void join() { thread_.join(); }

  // To be called again and again while waiting.
  static void check() {
    if (current()) {
      if (*current()) throw thread_interrupted();
      return;
    }
    std::lock_guard<std::mutex> lock(failure_mutex());
    if (std::exception_ptr failed = std::exchange(failure(), nullptr)) std::rethrow_exception(failed);
  }

 private:
  static std::atomic<bool>*& current() {  // whether this thread was interrupted; null in a thread that isn't Caffe's
    static thread_local std::atomic<bool>* interrupted = nullptr;
    return interrupted;
  }
  static std::exception_ptr& failure() {
    static std::exception_ptr failed;
    return failed;
  }
  static std::mutex& failure_mutex() {
    static std::mutex mutex;
    return mutex;
  }

  std::shared_ptr<std::atomic<bool>> interrupted_;
  std::thread thread_;
};

class condition_variable {
 public:
  void notify_one() { condition_.notify_one(); }
  void wait(mutex::scoped_lock& lock) {  // may return without cause: its callers loop
    thread::check();
    condition_.wait_for(lock, std::chrono::milliseconds(50));
    thread::check();
  }

 private:
  std::condition_variable condition_;
};

template <typename T>
class thread_specific_ptr {  // one for each T, which is all that Caffe needs
 public:
  T* get() const { return slot().get(); }
  void reset(T* value) { slot().reset(value); }

 private:
  static std::unique_ptr<T>& slot() {
    static thread_local std::unique_ptr<T> value;
    return value;
  }
};

}  // namespace boost
