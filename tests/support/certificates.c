#include "certificates.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/must.h"

static void make(const char *directory, const char *name, const char *signer,
		 const char *extensions)
{
	char *command = mem_format(
		"cd %s && openssl req -x509 -newkey ec -nodes -days 2 "
		"-pkeyopt ec_paramgen_curve:prime256v1 -keyout %s.key "
		"-out %s.pem -subj /CN=%s %s %s >>openssl.log 2>&1",
		directory, name, name, name, signer, extensions);

	/* NOLINTNEXTLINE(cert-env33-c): the words are ours alone */
	if (system(command) != 0) {
		fprintf(stderr, "failed: %s\n", command);
		abort();
	}
	free(command);
}

#define LEAF " -addext basicConstraints=critical,CA:FALSE"

void certificates_make(const char *directory)
{
	static const char by_ca[] = "-CA ca.pem -CAkey ca.key";

	make(directory, "ca", "", "");
	make(directory, "server", by_ca,
	     "-addext subjectAltName=DNS:localhost,IP:127.0.0.1" LEAF);
	make(directory, "elsewhere", by_ca,
	     "-addext subjectAltName=DNS:elsewhere.example" LEAF);
	make(directory, "client", by_ca, LEAF);
	make(directory, "stranger", "",
	     "-addext subjectAltName=DNS:localhost,IP:127.0.0.1");
}
