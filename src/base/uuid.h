/* uuid - names that nobody else makes: UUID version 7 (RFC 9562), which sort by
 * the time they were made. Any thread. */
#pragma once

#define UUID_BYTES 37 /* 36 characters and a NUL */

void uuid_make(char uuid[UUID_BYTES]);
