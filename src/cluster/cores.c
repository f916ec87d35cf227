/* How many cores this process may use: affinity and the cgroup's quota. */
#include <muster/cluster.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PATH_BYTES 4352

static int by_affinity(void)
{
	cpu_set_t *set = NULL;
	int cores = 1;

	/* The kernel's set may be larger than the type's. */
	for (size_t count = CPU_SETSIZE; count <= 65536; count *= 2) {
		size_t size = CPU_ALLOC_SIZE(count);

		set = CPU_ALLOC(count);
		if (set != NULL && sched_getaffinity(0, size, set) == 0) {
			cores = CPU_COUNT_S(size, set);
			CPU_FREE(set);
			break;
		}
		CPU_FREE(set);
	}
	return cores > 0 ? cores : 1;
}

/* This process's cgroup below the root of `controller` ("": version 2). */
static bool find_cgroup(const char *controller, char *path, size_t size)
{
	char line[PATH_BYTES];
	bool is_found = false;
	FILE *file = fopen("/proc/self/cgroup", "re");

	while (file != NULL && !is_found &&
	       fgets(line, sizeof(line), file) != NULL) {
		char *names = strchr(line, ':');
		char *place = names == NULL ? NULL : strchr(names + 1, ':');

		if (place == NULL)
			continue;
		*place++ = '\0';
		place[strcspn(place, "\n")] = '\0';
		is_found = strcmp(names + 1, controller) == 0 ||
			   (controller[0] != '\0' &&
			    strstr(names + 1, controller) != NULL);
		if (is_found)
			snprintf(path, size, "%s", place);
	}
	if (file != NULL)
		fclose(file);
	return is_found;
}

static bool read_line(const char *path, char *line, size_t size)
{
	FILE *file = fopen(path, "re");
	bool is_read = file != NULL && fgets(line, (int)size, file) != NULL;

	if (file != NULL)
		fclose(file);
	return is_read;
}

static int cores_of(long long quota, long long period)
{
	if (quota <= 0 || period <= 0)
		return 0;
	/* One and a half is two: the half would be lost otherwise. */
	return (int)((quota + period - 1) / period);
}

static int smaller(int limit, int found)
{
	return found > 0 && (limit == 0 || found < limit) ? found : limit;
}

/* Version 2: "QUOTA PERIOD" or "max PERIOD", in the group and in those above
 * it. 0: no limit. */
static int by_cgroup2(void)
{
	char group[PATH_BYTES / 2];
	char path[PATH_BYTES];
	char line[128];
	int limit = 0;

	if (!find_cgroup("", group, sizeof(group)))
		return 0;
	for (;;) {
		char *slash = strrchr(group, '/');

		snprintf(path, sizeof(path), "/sys/fs/cgroup%s/cpu.max", group);
		if (read_line(path, line, sizeof(line))) {
			char *end;
			long long quota = strtoll(line, &end, 10);

			limit = smaller(
				limit, cores_of(quota, strtoll(end, NULL, 10)));
		}
		if (slash == NULL)
			return limit;
		*slash = '\0';
	}
}

static int by_cgroup1(void)
{
	char group[PATH_BYTES / 2];
	char path[PATH_BYTES];
	char quota[128];
	char period[128];

	if (!find_cgroup("cpu", group, sizeof(group)))
		return 0;
	snprintf(path, sizeof(path), "/sys/fs/cgroup/cpu%s/cpu.cfs_quota_us",
		 group);
	if (!read_line(path, quota, sizeof(quota)))
		return 0;
	snprintf(path, sizeof(path), "/sys/fs/cgroup/cpu%s/cpu.cfs_period_us",
		 group);
	if (!read_line(path, period, sizeof(period)))
		return 0;
	return cores_of(strtoll(quota, NULL, 10), strtoll(period, NULL, 10));
}

int muster_available_cores(void)
{
	int cores = by_affinity();

	cores = smaller(cores, by_cgroup2());
	return smaller(cores, by_cgroup1());
}
