/* What the files of http1 share: which bytes may stand where. */
#pragma once
#include <stdint.h>

enum {
	CLASS_TOKEN = 1,  /* RFC 9110, 5.6.2 */
	CLASS_TARGET = 2, /* visible ASCII but "#" */
	CLASS_VALUE = 4,  /* visible, space, tab, and what is not ASCII */
	CLASS_HOST = 8,   /* of a registered name: RFC 3986, 3.2.2 */
	CLASS_HEX = 16,
	CLASS_DIGIT = 32,
};

extern const uint8_t http1_classes[256];

static inline int http1_is(char byte, int classes)
{
	return http1_classes[(uint8_t)byte] & classes;
}
