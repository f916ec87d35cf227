/* rpc_body - what "do" and "doResponse" are made of, and the words of what has
 * failed. */
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "base/json.h"
#include "service/rpc_internal.h"

static const struct {
	const char *name;
	int code;
	const char *text;
} errors[] = { [RPC_OK] = { "", 0, "" },
#define RPC_ROW(NAME, number, sentence)                                        \
	[RPC_##NAME] = { #NAME, -(number), sentence },
	       RPC_ERRORS(RPC_ROW)
#undef RPC_ROW
};

const char *rpc_error_name(enum rpc_error error)
{
	return errors[error].name;
}

const char *rpc_error_text(enum rpc_error error)
{
	return errors[error].text;
}

int rpc_error_code(enum rpc_error error)
{
	return errors[error].code;
}

enum rpc_error rpc_error_read(const char *word, size_t length)
{
	for (int i = RPC_OK + 1; i < RPC_ERRORS_END; i++)
		if (strlen(errors[i].name) == length &&
		    memcmp(errors[i].name, word, length) == 0)
			return (enum rpc_error)i;
	return RPC_CALLEE_ERROR;
}

static const struct {
	const char *name;
	size_t length;
	size_t offset; /* in struct rpc_body */
} fields[] = {
#define RPC_ROW(NAME, name)                                                    \
	{ name, sizeof(name) - 1, offsetof(struct rpc_body, NAME) },
	RPC_FIELDS(RPC_ROW)
#undef RPC_ROW
};

/* Ours has no escapes in it. */
static struct json_value *field_of(struct rpc_body *body, struct json_value key)
{
	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
		if (key.length == fields[i].length + 2 &&
		    memcmp(key.text + 1, fields[i].name, fields[i].length) == 0)
			return (struct json_value *)(void *)((char *)body +
							     fields[i].offset);
	return NULL;
}

bool rpc_read_body(struct envelope_text text, struct rpc_body *body)
{
	struct json_value object = json_value_of(text.data, text.length);
	struct json_value key, value;

	*body = (struct rpc_body){ 0 };
	if (json_kind_of(object) != JSON_OBJECT)
		return false;
	struct json_walk walk = json_walk(object);

	while (json_walk_next(&walk, &key, &value)) {
		struct json_value *field = field_of(body, key);

		if (field != NULL && field->text == NULL)
			*field = value;
	}
	return true;
}

bool rpc_is(struct json_value value, enum json_kind kind)
{
	return value.text != NULL && json_kind_of(value) == kind;
}
