/* Rooms whose members are on several servers, as real processes that share a
 * store. MUSTER_TEST_STORE says which back end: lmdb or redis. */
#include <muster/node.h>
#include <muster/peer.h>
#include <muster/room.h>
#include <muster/rpc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "commands.h"
#include "harness.h"
#include "program.h"

/* Short, so that nothing takes long, and long beside a busy machine's pauses.
 */
#define PING_MS    100
#define SUSPECT_MS 600
#define DEAD_MS    2000
#define MANY       200

/* ---- programs ---- */

static int redis(int argc, char **argv)
{
	execlp("redis-server", "redis-server", "--port", "0", "--unixsocket",
	       argument(argc, argv, 0), "--save", "", NULL);
	return 127;
}

static int redis_cli(int argc, char **argv)
{
	const char *words[16] = { "redis-cli", "-s" };

	for (int i = 0; i + 3 < argc && i < 13; i++)
		words[i + 2] = argv[i + 3];
	execvp("redis-cli", (char *const *)(uintptr_t)words);
	return 127;
}

static void on_heard(struct muster *muster, const char *connection,
		     const char *json, void *arg)
{
	(void)muster;
	(void)connection;
	(void)arg;
	say("heard %s", json);
}

static char own[128]; /* this server's connection */

static enum muster_room_verdict note(struct muster *muster,
				     const struct muster_room_event *event,
				     const char *what)
{
	(void)muster;
	say("%s %s %s", what, event->room,
	    strcmp(event->member, own) == 0 ? "own" : event->member);
	return MUSTER_ROOM_PASS;
}

static enum muster_room_verdict
note_join(struct muster *muster, struct muster_room_event *event, void *arg)
{
	(void)arg;
	return note(muster, event, "joins");
}

static enum muster_room_verdict
note_leave(struct muster *muster, struct muster_room_event *event, void *arg)
{
	(void)arg;
	return note(muster, event, "leaves");
}

static enum muster_room_verdict
rename_data(struct muster *muster, struct muster_room_event *event, void *arg)
{
	(void)arg;
	if (event->is_web)
		return MUSTER_ROOM_DROP;
	event->json = muster_text(muster, "[%s]", event->json);
	return MUSTER_ROOM_CHANGE;
}

static enum muster_room_verdict
keep_in(struct muster *muster, struct muster_room_event *event, void *arg)
{
	(void)muster;
	(void)event;
	(void)arg;
	return MUSTER_ROOM_DROP;
}

static enum muster_room_verdict
spoil(struct muster *muster, struct muster_room_event *event, void *arg)
{
	(void)muster;
	(void)arg;
	event->json = "{";
	return MUSTER_ROOM_CHANGE;
}

static const struct muster_room rooms[] = {
	{ .name = "lobby" },
	{ .name = "kept", .on_join = rename_data, .on_leave = keep_in },
	{ .name = "spoilt", .on_join = spoil, .on_say = spoil },
	{ .name = "noted*", .on_join = note_join, .on_leave = note_leave },
	{ 0 },
};

static const char *or_own(const char *connection)
{
	return connection[0] == '\0' ? own : connection;
}

static void show_members(struct muster *muster, const char *room)
{
	struct muster_member_list list = { 0 };
	int code = muster_room_members(muster, room, &list);

	say("members of %s code=%d count=%zu", room, code, list.count);
	for (size_t i = 0; i < list.count; i++)
		say("member %s server=%s web=%d data=%s", list.members[i].id,
		    list.members[i].server, list.members[i].is_web,
		    list.members[i].data);
}

/* Until there are as many. */
static void await_members(struct muster *muster, const char *room, size_t count)
{
	struct muster_member_list list = { 0 };

	while ((muster_room_members(muster, room, &list) != 0 ||
		list.count != count) &&
	       muster_sleep(muster, 20) == 0)
		muster_clear_answers(muster);
	say("%s has %zu", room, count);
}

static void take_messages(struct muster *muster, const char *client)
{
	struct muster_texts texts = { 0 };
	int code = muster_web_messages(muster, client, 0, &texts);

	for (size_t i = 0; i < texts.count; i++)
		say("left %s", texts.texts[i]);
	say("messages code=%d count=%zu", code, texts.count);
}

static void say_many(struct muster *muster, const char *room)
{
	for (int i = 0; i < MANY; i++)
		if (muster_room_say(muster, room, own,
				    muster_text(muster, "%d", i)) != 0)
			say("not said");
	say("said all");
}

static int do_with_web(struct muster *muster, const char *verb,
		       const char *room, const char *rest)
{
	char client[64] = "", message[200] = "";

	sscanf(rest, "%63s %199[^\n]", client, message);
	if (strcmp(verb, "webjoin") == 0)
		return muster_web_join(muster, room, client, NULL);
	if (strcmp(verb, "webleave") == 0)
		return muster_web_leave(muster, room, client);
	if (strcmp(verb, "websay") == 0)
		return muster_web_say(muster, room, client, message);
	take_messages(muster, room);
	return 0;
}

static int do_room(struct muster *muster, const char *verb, const char *room,
		   const char *rest)
{
	if (strcmp(verb, "create") == 0)
		return muster_room_create(muster, room);
	if (strcmp(verb, "destroy") == 0)
		return muster_room_destroy(muster, room);
	if (strcmp(verb, "exists") == 0)
		return muster_room_exists(muster, room);
	if (strcmp(verb, "join") == 0)
		return muster_room_join(muster, room, or_own(rest),
					"{\"nick\":1}");
	if (strcmp(verb, "leave") == 0)
		return muster_room_leave(muster, room, or_own(rest));
	if (strcmp(verb, "say") == 0)
		return muster_room_say(muster, room, own, rest);
	if (strcmp(verb, "announce") == 0)
		return muster_room_say(muster, room, NULL, rest);
	return do_with_web(muster, verb, room, rest);
}

static void obey(struct muster *muster, const char *line)
{
	char verb[32] = "", room[64] = "", rest[256] = "";

	sscanf(line, "%31s %63s %255[^\n]", verb, room, rest);
	if (strcmp(verb, "members") == 0)
		show_members(muster, room);
	else if (strcmp(verb, "await") == 0)
		await_members(muster, room, strtoul(rest, NULL, 10));
	else if (strcmp(verb, "many") == 0)
		say_many(muster, room);
	else if (strcmp(verb, "drop") == 0)
		muster_connection_drop(muster, own);
	else
		say("%s %s code=%d", verb, room,
		    do_room(muster, verb, room, rest));
	muster_clear_answers(muster);
}

static int begin(struct muster *muster, void *arg)
{
	(void)arg;
	snprintf(own, sizeof(own), "%s", muster_connection_hold(muster));
	if (muster_connection_receive(muster, own, on_heard, NULL) < 0)
		return -1;
	say("ready %s", own);
	return commands_begin(muster, obey);
}

static int node(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	struct muster *muster = muster_open(
		NULL,
		&(struct muster_node_options){ .name = "app",
					       .token = "of these tests alone",
					       .ping_ms = PING_MS,
					       .suspect_ms = SUSPECT_MS,
					       .dead_ms = DEAD_MS,
					       .rooms = rooms,
					       .on_start = begin });

	return muster == NULL ? 1 : muster_run(muster);
}

static const struct test_program programs[] = {
	PROGRAM(node), PROGRAM(redis), PROGRAM(redis_cli), { 0 }
};

/* ---- what tests do ---- */

static char store[300]; /* for the environment */
static struct process *server;

static bool is_redis(void)
{
	const char *kind = getenv("MUSTER_TEST_STORE");

	return kind != NULL && strcmp(kind, "redis") == 0;
}

static void start_server(void)
{
	server = start("redis", path_in_directory("redis.sock"), NULL);
	expect(server, "*eady to accept connections*");
}

static void open_store(void)
{
	server = NULL;
	if (is_redis())
		start_server();
	snprintf(store, sizeof(store), "MUSTER_STORE=%s%s",
		 is_redis() ? "unix:" : "lmdb:",
		 path_in_directory(is_redis() ? "redis.sock" : "store"));
}

/* And what its connection is called. */
static struct process *start_node(char connection[100])
{
	struct process *p = start_with(&(struct start_options){
		.name = "node",
		.environment = (const char *const[]){ store, NULL },
	});

	snprintf(connection, 100, "%s",
		 expect(p, "ready *") + strlen("ready "));
	return p;
}

static void join(struct process *p, const char *room)
{
	command(p, "join %s", room);
	expect(p, "join %s code=0", room);
}

static struct process *cli(const char *one, const char *two, const char *three,
			   const char *four)
{
	return start("redis_cli", path_in_directory("redis.sock"), one, two,
		     three, four, NULL);
}

/* ---- tests ---- */

static void what_is_said_reaches_members_on_all_servers(void)
{
	char one[100], other[100], third[100];

	open_store();
	struct process *first = start_node(one);
	struct process *second = start_node(other);
	struct process *stranger = start_node(third);

	join(first, "lobby");
	join(second, "lobby");
	command(first, "join lobby");
	expect(first, "join lobby code=4"); /* MUSTER_KNOWN */
	command(first, "join nowhere");
	expect(first, "join nowhere code=2"); /* MUSTER_NOT_FOUND */
	command(second, "say lobby {\"a\":[1]}");
	expect(second, "say lobby code=0");
	expect(first,
	       "heard {\"message\":{\"a\":[1]},\"room\":\"lobby\",\"from\":"
	       "\"%s\",\"context\":\"user\",\"sentAt\":*}",
	       other);
	expect(second, "heard {\"message\":{\"a\":[1]},*");
	/* A server speaks, too, and whoever is no member does not. */
	command(stranger, "announce lobby \"hi\"");
	expect(first, "heard {\"message\":\"hi\",*\"from\":\"0\",*");
	command(stranger, "say lobby 1");
	expect(stranger, "say lobby code=7"); /* MUSTER_LOST */
	command(stranger, "members lobby");
	expect(stranger, "members of lobby code=0 count=2");
	expect(stranger,
	       "member %s server=app-worker-1 web=0 data={\"nick\":1}", one);
	command(first, "leave lobby");
	expect(first, "leave lobby code=0");
	command(first, "leave lobby");
	expect(first, "leave lobby code=2");
	command(second, "say lobby 2");
	expect(second, "heard {\"message\":2,*");
	expect_none(first, "heard {\"message\":2,*");
	expect_none(stranger, "heard *");
}

static void a_connection_joins_and_leaves_from_anywhere(void)
{
	char one[100], other[100];

	open_store();
	struct process *first = start_node(one);
	struct process *second = start_node(other);

	command(second, "create noted/1");
	expect(second, "create noted/1 code=0");
	command(second, "join noted/1 %s", one);
	expect(first, "joins noted/1 own");
	expect(second, "join noted/1 code=0");
	command(second, "announce noted/1 1");
	expect(first, "heard {\"message\":1,*");
	command(second, "join noted/1 %s", one);
	expect(second, "join noted/1 code=4");
	command(second, "leave noted/1 %s", one);
	expect(first, "leaves noted/1 own");
	expect(second, "leave noted/1 code=0");
	command(second, "await noted/1 0");
	expect(second, "noted/1 has 0");
	/* A connection that ends leaves. */
	join(first, "noted/1");
	command(first, "drop");
	expect_in_order(first, "leaves noted/1 own", NULL);
	command(second, "await noted/1 0");
	expect(second, "noted/1 has 0");
	command(second, "join noted/1 %s", one);
	expect(second, "join noted/1 code=-107"); /* -ENOTCONN */
}

static void handlers_change_and_drop(void)
{
	char one[100], other[100];

	open_store();
	struct process *first = start_node(one);
	struct process *second = start_node(other);

	/* They run where the member is, whoever asks. */
	command(second, "join kept %s", one);
	expect(second, "join kept code=0");
	command(second, "members kept");
	expect(second, "member %s * data=[{\"nick\":1}]", one);
	command(second, "leave kept %s", one);
	expect(second, "leave kept code=16"); /* MUSTER_DROPPED */
	command(second, "webjoin kept alice");
	expect(second, "webjoin kept code=16");
	command(second, "join spoilt");
	expect(second, "join spoilt code=-22"); /* -EINVAL */
	command(second, "announce spoilt 1");
	expect(second, "announce spoilt code=-22");
	command(second, "members spoilt");
	expect(second, "members of spoilt code=0 count=0");
	/* Nobody is kept from going away. */
	command(first, "drop");
	command(second, "await kept 0");
	expect(second, "kept has 0");
}

static void messages_come_in_the_speakers_order(void)
{
	char one[100], other[100];

	open_store();
	struct process *first = start_node(one);
	struct process *second = start_node(other);

	join(first, "lobby");
	join(second, "lobby");
	command(first, "many lobby");
	expect(first, "said all");
	int before = -1;

	for (int i = 0; i < MANY; i++) {
		int at = line_number(
			second, expect(second, "heard {\"message\":%d,*", i));

		if (at <= before)
			give_up("message %d came too early", i);
		before = at;
	}
	if (count_lines(second, "heard *") != MANY)
		give_up("a message came twice");
}

static void members_of_a_killed_server_vanish(void)
{
	char one[100], other[100], third[100];

	open_store();
	struct process *first = start_node(one);
	struct process *second = start_node(other);

	join(first, "lobby");
	join(second, "lobby");
	send_signal(first, SIGKILL);
	expect_exit(first, -SIGKILL);
	command(second, "await lobby 1");
	expect(second, "lobby has 1");
	/* And those of a cluster that is gone altogether. */
	send_signal(second, SIGKILL);
	expect_exit(second, -SIGKILL);
	struct process *later = start_node(third);

	command(later, "await lobby 0");
	expect(later, "lobby has 0");
}

static void one_that_leaves_takes_its_members_with_it(void)
{
	char one[100], other[100];

	open_store();
	struct process *first = start_node(one);
	struct process *second = start_node(other);

	join(first, "lobby");
	send_signal(first, SIGTERM);
	expect_exit(first, 0);
	command(second, "members lobby");
	expect(second, "members of lobby code=0 count=0");
}

static void a_room_that_is_destroyed_harms_nobody(void)
{
	char one[100], other[100];

	open_store();
	struct process *first = start_node(one);
	struct process *second = start_node(other);

	join(first, "lobby");
	join(second, "lobby");
	command(second, "webjoin lobby alice");
	expect(second, "webjoin lobby code=0");
	command(second, "destroy lobby");
	expect(second, "destroy lobby code=0");
	expect(first, "heard {\"message\":\"this room has been deleted\","
		      "\"room\":\"lobby\",\"from\":\"0\",*");
	expect(second, "heard {\"message\":\"this room has been deleted\",*");
	command(first, "messages alice");
	expect(first, "left {\"message\":\"this room has been deleted\",*");
	command(first, "say lobby 1");
	expect(first, "say lobby code=7");
	command(first, "leave lobby");
	expect(first, "leave lobby code=2");
	command(first, "announce lobby 1");
	expect(first, "announce lobby code=2");
	command(first, "destroy lobby");
	expect(first, "destroy lobby code=2");
	command(first, "members lobby");
	expect(first, "members of lobby code=2 count=0");
	/* Another one is called the same, and is empty. */
	command(first, "create lobby");
	expect(first, "create lobby code=0");
	join(first, "lobby");
	command(second, "announce lobby 2");
	expect(first, "heard {\"message\":2,*");
	expect_none(second, "heard {\"message\":2,*");
}

static void what_is_said_is_left_for_web_clients_once(void)
{
	char one[100], other[100], third[100];

	open_store();
	struct process *first = start_node(one);
	struct process *second = start_node(other);
	struct process *last = start_node(third);

	join(first, "lobby");
	join(second, "lobby");
	join(last, "lobby");
	command(first, "webjoin lobby alice");
	expect(first, "webjoin lobby code=0");
	command(second, "webjoin lobby bob");
	expect(second, "webjoin lobby code=0");
	command(second, "say lobby 1");
	expect(second, "say lobby code=0");
	/* Said by one of them, through any server: all hear it. */
	command(last, "websay lobby bob 2");
	expect(last, "websay lobby code=0");
	expect(first, "heard {\"message\":2,*");
	/* What others know it by does not give it away. */
	expect_none(first, "heard *bob*");
	command(last, "messages alice");
	expect_in_order(last, "left {\"message\":1,*", "left {\"message\":2,*",
			"messages code=0 count=2", NULL);
	command(first, "messages alice");
	expect(first, "messages code=0 count=0");
	command(first, "messages bob");
	expect(first, "messages code=0 count=2");
	command(first, "websay lobby eve 3");
	expect(first, "websay lobby code=7"); /* she is no member */
	command(first, "webleave lobby bob");
	expect(first, "webleave lobby code=0");
	command(first, "members lobby");
	expect(first, "members of lobby code=0 count=4");
}

/* The store comes back with nothing of what it had. */
static void after_an_outage_members_are_there_again(void)
{
	char one[100], other[100];

	open_store();
	struct process *first = start_node(one);
	struct process *second = start_node(other);

	command(first, "create noted/1");
	expect(first, "create noted/1 code=0");
	join(first, "noted/1");
	join(second, "noted/1");
	send_signal(server, SIGKILL);
	expect_exit(server, -SIGKILL);
	unlink(path_in_directory("redis.sock"));
	start_server();
	command(second, "await noted/1 2");
	expect(second, "noted/1 has 2");
	command(first, "await lobby 0"); /* is one of the application's */
	expect(first, "lobby has 0");
	command(second, "say noted/1 1");
	expect(first, "heard {\"message\":1,*");
	/* Before the server does: they have something to tell it. */
	send_signal(first, SIGTERM);
	expect_exit(first, 0);
	send_signal(second, SIGTERM);
	expect_exit(second, 0);
}

static void after_a_flush_members_are_there_again(void)
{
	char one[100], other[100];

	open_store();
	struct process *first = start_node(one);
	struct process *second = start_node(other);

	join(first, "lobby");
	join(second, "lobby");
	expect(cli("flushall", NULL, NULL, NULL), "OK");
	/* Whoever leaves now harms nobody, though the room is not there. */
	command(first, "drop");
	command(second, "await lobby 1");
	expect(second, "lobby has 1");
	command(second, "say lobby 1");
	expect(second, "heard {\"message\":1,*");
}

/* Nobody was told: as if the message had been lost on its way. */
static void a_room_that_was_destroyed_unheard_lets_go(void)
{
	char one[100];

	open_store();
	struct process *first = start_node(one);

	join(first, "lobby");
	expect(cli("hdel", "muster:_rooms", "lobby", NULL), "1");
	expect(cli("zadd", "muster:_roomsGone", "1", "lobby"), "1");
	command(first, "say lobby 1");
	expect(first, "say lobby code=2");
	expect(first, "heard {\"message\":\"this room has been deleted\",*");
	command(first, "leave lobby");
	expect(first, "leave lobby code=2");
}

/* A person finds what contract and manual say is there. */
static void the_keys_are_those_of_the_manual(void)
{
	char one[100];

	open_store();
	struct process *first = start_node(one);

	join(first, "lobby");
	command(first, "webjoin lobby alice");
	expect(first, "webjoin lobby code=0");
	command(first, "say lobby 1");
	expect(first, "say lobby code=0");
	struct process *members =
		cli("hgetall", "muster:roomMembers-lobby", NULL, NULL);

	expect(members, "%s", one);
	expect(members, "{\"owner\":\"*\",\"id\":\"%s\",\"joinedAt\":*}", one);
	expect(cli("type", "muster:webMessages:alice", NULL, NULL), "list");
	/* A little less than five minutes. */
	expect(cli("pttl", "muster:webMessages:alice", NULL, NULL), "2*");
}

#define ON_ANY                                                                 \
	TEST(what_is_said_reaches_members_on_all_servers),                     \
		TEST(a_connection_joins_and_leaves_from_anywhere),             \
		TEST(handlers_change_and_drop),                                \
		TEST(messages_come_in_the_speakers_order),                     \
		TEST(members_of_a_killed_server_vanish),                       \
		TEST(one_that_leaves_takes_its_members_with_it),               \
		TEST(a_room_that_is_destroyed_harms_nobody),                   \
		TEST(what_is_said_is_left_for_web_clients_once)

static const struct test on_lmdb[] = { ON_ANY, { 0 } };

static const struct test on_redis[] = {
	ON_ANY,
	TEST(after_an_outage_members_are_there_again),
	TEST(after_a_flush_members_are_there_again),
	TEST(a_room_that_was_destroyed_unheard_lets_go),
	TEST(the_keys_are_those_of_the_manual),
	{ 0 },
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv, programs,
			    is_redis() ? on_redis : on_lmdb);
}
