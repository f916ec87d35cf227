/*
 * Any bytes as a task's envelope, as they may be put into a store by hand. What
 * is read can be written, and is then read as the same.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/must.h"
#include "service/task_envelope.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	struct arena arena = { 0 };
	struct task_envelope envelope;
	struct task_envelope again;
	const char *why = NULL;
	/* Exactly as long, so that a read beyond it shows. */
	char *text = mem_copy(length > 0 ? (const void *)bytes : "", length);

	if (!task_envelope_read(&arena, text, length, &envelope, &why)) {
		MUST(why != NULL && strlen(why) > 0);
	} else if (memchr(envelope.method, '\0', envelope.method_length) ==
		   NULL) {
		const char *params = arena_text(&arena, envelope.params.text,
						envelope.params.length);
		const char *written = task_envelope_write(
			&arena, envelope.method, params, envelope.enqueued_ms,
			envelope.deadline_ms);

		MUST(task_envelope_is_object(params, strlen(params)));
		MUST(task_envelope_read(&arena, written, strlen(written),
					&again, &why));
		MUST(strcmp(again.method, envelope.method) == 0);
		MUST(again.params.length == envelope.params.length);
		MUST(again.deadline_ms == envelope.deadline_ms);
	}
	arena_fini(&arena);
	free(text);
	return 0;
}
