// The BLAS of PyPI's scipy-openblas32, whose names have a prefix; blas.cpp spreads sgemm over the cores.
#pragma once
#include <scipy_openblas32/include/cblas.h>
#define cblas_sgemm caffe_sgemm
#define cblas_dgemm scipy_cblas_dgemm
#define cblas_sgemv scipy_cblas_sgemv
#define cblas_dgemv scipy_cblas_dgemv
#define cblas_saxpy scipy_cblas_saxpy
#define cblas_daxpy scipy_cblas_daxpy
#define cblas_saxpby scipy_cblas_saxpby
#define cblas_daxpby scipy_cblas_daxpby
#define cblas_scopy scipy_cblas_scopy
#define cblas_dcopy scipy_cblas_dcopy
#define cblas_sscal scipy_cblas_sscal
#define cblas_dscal scipy_cblas_dscal
#define cblas_sdot scipy_cblas_sdot
#define cblas_ddot scipy_cblas_ddot
#define cblas_sasum scipy_cblas_sasum
#define cblas_dasum scipy_cblas_dasum

extern "C++" {  // Caffe includes this header as C
#include <functional>
void caffe_share(int count, const std::function<void(int begin, int end)>& loop);
void caffe_sgemm(CBLAS_ORDER order, CBLAS_TRANSPOSE trans_a, CBLAS_TRANSPOSE trans_b, int m, int n, int k, float alpha,
                 const float* a, int lda, const float* b, int ldb, float beta, float* c, int ldc);
}
