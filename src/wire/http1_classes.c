#include "wire/http1_internal.h"

/* clang-format off */
#define V   CLASS_VALUE
#define N   (CLASS_VALUE | CLASS_TOKEN) /* "#" */
#define T   (CLASS_VALUE | CLASS_TARGET)
#define K   (T | CLASS_TOKEN)
#define H   (T | CLASS_HOST)
#define A   (K | CLASS_HOST)
#define X   (A | CLASS_HEX)
#define D   (X | CLASS_DIGIT)

const uint8_t http1_classes[256] = {
	0, 0, 0, 0, 0, 0, 0, 0, 0, V, 0, 0, 0, 0, 0, 0,
	0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
	V, A, T, N, A, A, A, A, H, H, A, A, H, A, A, T, /* space to / */
	D, D, D, D, D, D, D, D, D, D, T, H, T, H, T, T, /* digits to ? */
	T, X, X, X, X, X, X, A, A, A, A, A, A, A, A, A, /* @ to O */
	A, A, A, A, A, A, A, A, A, A, A, T, T, T, K, A, /* P to _ */
	K, X, X, X, X, X, X, A, A, A, A, A, A, A, A, A, /* ` to o */
	A, A, A, A, A, A, A, A, A, A, A, T, K, T, A, 0, /* p to DEL */
	V, V, V, V, V, V, V, V, V, V, V, V, V, V, V, V,
	V, V, V, V, V, V, V, V, V, V, V, V, V, V, V, V,
	V, V, V, V, V, V, V, V, V, V, V, V, V, V, V, V,
	V, V, V, V, V, V, V, V, V, V, V, V, V, V, V, V,
	V, V, V, V, V, V, V, V, V, V, V, V, V, V, V, V,
	V, V, V, V, V, V, V, V, V, V, V, V, V, V, V, V,
	V, V, V, V, V, V, V, V, V, V, V, V, V, V, V, V,
	V, V, V, V, V, V, V, V, V, V, V, V, V, V, V, V,
};
/* clang-format on */
