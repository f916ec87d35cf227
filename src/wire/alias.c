#include "wire/alias.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

#include "base/must.h"

/* Half of a SHA-256: names are random, so nobody finds one by trying. */
void alias_make(const char *name, char alias[ALIAS_BYTES])
{
	unsigned char digest[EVP_MAX_MD_SIZE];

	MUST(EVP_Digest(name, strlen(name), digest, NULL, EVP_sha256(), NULL) ==
	     1);
	for (size_t i = 0; i < (ALIAS_BYTES - 1) / 2; i++)
		snprintf(alias + 2 * i, 3, "%02x", digest[i]);
}
