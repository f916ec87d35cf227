#include "store/redis_internal.h"

#include "store/redis_scripts_text.h"

static const struct {
	const char *sha;
	const char *text;
} scripts[SCRIPTS] = {
#define SCRIPT_ENTRY(name)                                                     \
	[SCRIPT_##name] = { script_sha_##name, script_text_##name },
	REDIS_SCRIPTS(SCRIPT_ENTRY)
#undef SCRIPT_ENTRY
};

const char *redis_script_sha(enum redis_script script)
{
	return scripts[script].sha;
}

const char *redis_script_text(enum redis_script script)
{
	return scripts[script].text;
}
