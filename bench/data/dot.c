/* Prints the operations a second of dot products of signed bytes in AVX2, from the first-level cache, by one thread. */
#include <immintrin.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

int main(int argc, char **argv) {
    enum { VECTORS = 128, ROUNDS = 20000 };
    static __m256i a[VECTORS], b[VECTORS];
    double seconds = argc > 1 ? atof(argv[1]) : 1, best = 0, end;
    for (int i = 0; i < VECTORS; i++) {
        a[i] = _mm256_set1_epi8((char)(i % 15 + 1));
        b[i] = _mm256_set1_epi8((char)(i % 7 - 3));
    }
    const __m256i ones = _mm256_set1_epi16(1);
    volatile int sink = 0;
    end = now() + seconds;
    do {
        __m256i sum0 = _mm256_setzero_si256(), sum1 = sum0, sum2 = sum0, sum3 = sum0;
        double began = now();
        for (int r = 0; r < ROUNDS; r++) {
            for (int i = 0; i < VECTORS; i += 4) {
#define STEP(n) \
    sum##n = _mm256_add_epi32(sum##n, _mm256_madd_epi16(ones, \
        _mm256_maddubs_epi16(_mm256_sign_epi8(a[i + n], a[i + n]), _mm256_sign_epi8(b[i + n], a[i + n]))))
                STEP(0); STEP(1); STEP(2); STEP(3);
            }
            __asm__ volatile("" ::: "memory");
        }
        double rate = 2.0 * 32 * VECTORS * ROUNDS / (now() - began);
        sum0 = _mm256_add_epi32(_mm256_add_epi32(sum0, sum1), _mm256_add_epi32(sum2, sum3));
        sink += _mm256_extract_epi32(sum0, 0);
        if (rate > best) best = rate;
    } while (now() < end);
    printf("%.0f\n", best);
    return 0;
}
