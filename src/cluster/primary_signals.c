/* What signals ask of a primary: muster(1) lists them. */
#include <signal.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/must.h"
#include "cluster/primary_internal.h"

/* A primary without workers has to be kept. */
static void set_paused(struct primary *primary, bool is_paused)
{
	if (primary->pool.is_paused == is_paused)
		return;
	primary->pool.is_paused = is_paused;
	if (is_paused)
		loop_hold(primary->cluster->loop);
	else
		loop_release(primary->cluster->loop);
}

static void on_stopped(struct muster_cluster *cluster, void *arg)
{
	(void)arg;
	muster_cluster_stop(cluster, cluster->exit_code);
}

/* Ctrl-C twice means now. */
static void on_stop_signal(struct primary *primary, int signal)
{
	bool is_second = primary->is_stopping && signal == SIGINT;

	set_paused(primary, false);
	log_info(&primary->cluster->log, "stopping signal=%s%s",
		 signal == SIGINT ? "SIGINT" : "SIGTERM",
		 is_second ? " again, at once" : "");
	DISCARD(primary_disconnect(primary, on_stopped, NULL)); /* never */
	if (!is_second)
		return;
	LIST_EACH (&primary->workers, link) {
		worker_terminate(LIST_ENTRY(link, struct muster_worker, link),
				 SIGKILL);
	}
}

static int last_slot(const struct primary *primary)
{
	int last = 0;

	for (int id = 1; id <= SLOTS_MAX; id++)
		if (primary->slots[id].holder != NULL)
			last = id;
	return last;
}

static void add_one(struct primary *primary)
{
	set_paused(primary, false);
	if (primary->pool.is_on)
		DISCARD(primary_scale(primary, primary->pool.wanted + 1));
	else
		DISCARD(primary_fork(primary, NULL, NULL)); /* is logged */
}

static void remove_one(struct primary *primary)
{
	int last = last_slot(primary);

	if (primary->pool.is_on && primary->pool.wanted > 1)
		DISCARD(primary_scale(primary, primary->pool.wanted - 1));
	else if (!primary->pool.is_on && last > 0)
		worker_ask_to_leave(primary->slots[last].holder, false);
}

/* A terminal sends WINCH when its window changes; an operator when the workers
 * are to go. Only the former comes with another size. */
static bool window_has_changed(struct primary *primary)
{
	struct winsize size;

	if (ioctl(STDIN_FILENO, TIOCGWINSZ, &size) < 0 &&
	    ioctl(STDERR_FILENO, TIOCGWINSZ, &size) < 0)
		return false;
	bool has_changed =
		size.ws_col != primary->columns || size.ws_row != primary->rows;

	primary->columns = size.ws_col;
	primary->rows = size.ws_row;
	return has_changed;
}

static void stop_workers(struct primary *primary)
{
	if (window_has_changed(primary))
		return;
	log_info(&primary->cluster->log,
		 "workers stopping, the primary stays (HUP starts them again)");
	set_paused(primary, true);
	LIST_EACH (&primary->workers, link) {
		worker_ask_to_leave(
			LIST_ENTRY(link, struct muster_worker, link), false);
	}
}

static void on_reload_signal(struct primary *primary)
{
	if (primary->pool.is_paused) {
		set_paused(primary, false);
		pool_fill(primary);
		return;
	}
	if (primary_reload(primary, NULL, NULL) < 0)
		log_warn(&primary->cluster->log, "reload refused text=\"%s\"",
			 primary->cluster->problem.text);
}

void primary_signal(struct primary *primary, int signal)
{
	switch (signal) {
	case SIGTERM:
	case SIGINT:
		on_stop_signal(primary, signal);
		break;
	case SIGHUP:
	case SIGUSR2:
		on_reload_signal(primary);
		break;
	case SIGTTIN:
		add_one(primary);
		break;
	case SIGTTOU:
		remove_one(primary);
		break;
	case SIGWINCH:
		stop_workers(primary);
		break;
	}
}

void primary_remember_window(struct primary *primary)
{
	DISCARD(window_has_changed(primary)); /* that it looked is enough */
}
