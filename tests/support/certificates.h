/*
 * certificates - made by the openssl command for one test, in its directory:
 * ca.pem signs server.pem (for localhost and 127.0.0.1), elsewhere.pem (for
 * another host) and client.pem; stranger.pem is signed by itself. Each has a
 * .key beside it.
 */
#pragma once

void certificates_make(const char *directory);
