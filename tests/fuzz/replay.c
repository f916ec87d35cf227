/*
 * Gives what lies in a corpus to a fuzz target, once. Arguments are files and
 * directories of files; one that ends in .hex is hexadecimal text, in which
 * "#" begins a comment.
 */
#include <dirent.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buffer.h"
#include "base/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

static int hex(int digit)
{
	if (digit >= '0' && digit <= '9')
		return digit - '0';
	if ((digit | 32) >= 'a' && (digit | 32) <= 'f')
		return (digit | 32) - 'a' + 10;
	return -1;
}

static void read_raw(FILE *file, struct buffer *input)
{
	size_t length;

	do {
		uint8_t *room = buffer_reserve(input, 4096);

		length = fread(room, 1, 4096, file);
		buffer_extend(input, length);
	} while (length > 0);
}

static void read_hex(FILE *file, struct buffer *input)
{
	bool is_comment = false;
	int high = -1;
	int byte;

	while ((byte = fgetc(file)) != EOF) {
		if (byte == '#' || byte == '\n')
			is_comment = byte == '#';
		int value = is_comment ? -1 : hex(byte);

		if (value < 0)
			continue;
		if (high < 0) {
			high = value;
			continue;
		}
		uint8_t pair = (uint8_t)(high << 4 | value);

		buffer_append(input, &pair, 1);
		high = -1;
	}
}

static int replay_file(const char *path)
{
	size_t length = strlen(path);
	struct buffer input = { 0 };
	FILE *file = fopen(path, "rb");

	if (file == NULL) {
		perror(path);
		return 0;
	}
	if (length > 4 && strcmp(path + length - 4, ".hex") == 0)
		read_hex(file, &input);
	else
		read_raw(file, &input);
	fclose(file);

	/* Exactly as long as it is, for those who watch for reads beyond. */
	uint8_t *exact = mem_copy(buffer_bytes(&input), buffer_length(&input));

	LLVMFuzzerTestOneInput(exact, buffer_length(&input));
	free(exact);
	buffer_fini(&input);
	return 1;
}

static int replay(const char *path)
{
	struct stat status;
	int count = 0;

	if (stat(path, &status) != 0 || !S_ISDIR(status.st_mode))
		return replay_file(path);

	struct dirent **entries;
	int found = scandir(path, &entries, NULL, alphasort);

	for (int i = 0; i < found; i++) {
		if (entries[i]->d_name[0] != '.') {
			char *inner =
				mem_format("%s/%s", path, entries[i]->d_name);

			count += replay(inner);
			free(inner);
		}
		free(entries[i]);
	}
	if (found >= 0)
		free(entries);
	return count;
}

int main(int argc, char **argv)
{
	int count = 0;

	for (int i = 1; i < argc; i++)
		count += replay(argv[i]);
	printf("%d inputs\n", count);
	return count > 0 ? 0 : 1;
}
