/* alias - a name by which others may know one that only its owner does. */
#pragma once

#define ALIAS_BYTES 33 /* 32 hexadecimal digits and a NUL */

/* The same for the same name, which it does not give away. */
void alias_make(const char *name, char alias[ALIAS_BYTES]);
