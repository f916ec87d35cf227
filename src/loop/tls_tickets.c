/* Session tickets under keys that others bring: see tls.h. */
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/rand.h>
#include <string.h>

#include "base/must.h"
#include "loop/tls_internal.h"

#define LIFETIME_S 7200 /* of a session, however often it is resumed */
#define AGES_MAX   16   /* whatever the owner says */

/* The key that a ticket was sealed with; -1: nobody has it any more. */
static int find_age(const struct tls_context *context, const uint8_t *name,
		    struct tls_ticket_key *key)
{
	for (unsigned age = 0; age < AGES_MAX; age++) {
		if (!context->ticket_key(context->ticket_owner, age, key))
			return -1;
		if (memcmp(key->name, name, sizeof(key->name)) == 0)
			return (int)age;
	}
	return -1;
}

static bool set_mac(EVP_MAC_CTX *mac, struct tls_ticket_key *key)
{
	OSSL_PARAM parameters[] = {
		OSSL_PARAM_octet_string(OSSL_MAC_PARAM_KEY, key->mac,
					sizeof(key->mac)),
		OSSL_PARAM_utf8_string(OSSL_MAC_PARAM_DIGEST,
				       (char[]){ "sha256" }, 0),
		OSSL_PARAM_END,
	};

	return EVP_MAC_CTX_set_params(mac, parameters) == 1;
}

/* As OpenSSL wants it: 0: no ticket; 1: fine; 2: fine, and a new one is due. */
static int seal(const struct tls_context *context, uint8_t *name, uint8_t *iv,
		EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac)
{
	struct tls_ticket_key key;
	bool is_fine = context->ticket_key(context->ticket_owner, 0, &key) &&
		       RAND_bytes(iv, EVP_MAX_IV_LENGTH) == 1 &&
		       EVP_EncryptInit_ex2(cipher, EVP_aes_256_cbc(),
					   key.cipher, iv, NULL) == 1 &&
		       set_mac(mac, &key);

	if (is_fine)
		memcpy(name, key.name, sizeof(key.name));
	OPENSSL_cleanse(&key, sizeof(key));
	return is_fine;
}

static int unseal(const struct tls_context *context, const uint8_t *name,
		  const uint8_t *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac)
{
	struct tls_ticket_key key;
	int age = find_age(context, name, &key);
	bool is_fine = age >= 0 &&
		       EVP_DecryptInit_ex2(cipher, EVP_aes_256_cbc(),
					   key.cipher, iv, NULL) == 1 &&
		       set_mac(mac, &key);

	OPENSSL_cleanse(&key, sizeof(key));
	if (!is_fine)
		return 0;
	return age == 0 ? 1 : 2;
}

static int on_ticket(SSL *ssl, unsigned char *name, unsigned char *iv,
		     EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, int is_sealing)
{
	const struct tls_context *context =
		SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));

	return is_sealing ? seal(context, name, iv, cipher, mac)
			  : unseal(context, name, iv, cipher, mac);
}

void tls_use_tickets(struct tls_context *context, SSL_CTX *ssl)
{
	static const unsigned char id[] = "muster";

	SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_OFF);
	if (context->ticket_key == NULL) {
		SSL_CTX_set_options(ssl, SSL_OP_NO_TICKET);
		MUST(SSL_CTX_set_num_tickets(ssl, 0) == 1);
		return;
	}
	MUST(SSL_CTX_set_session_id_context(ssl, id, sizeof(id) - 1) == 1);
	SSL_CTX_set_timeout(ssl, LIFETIME_S);
	MUST(SSL_CTX_set_tlsext_ticket_key_evp_cb(ssl, on_ticket) == 1);
}
