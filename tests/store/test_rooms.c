/* Rooms, their members, and the messages of web clients, on any back end. */
#include "fixture.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define HOUR_MS 3600000

static struct reply *create(struct fixture *f, const char *room)
{
	return ASK(room_create, .room = T(room));
}

static struct reply *join(struct fixture *f, const char *room,
			  const char *member, const char *owner)
{
	return ASK(room_join, .room = T(room), .member = T(member),
		   .owner = T(owner), .record = T("{\"id\":1}"));
}

static struct reply *join_web(struct fixture *f, const char *room,
			      const char *client, uint64_t web_ms)
{
	char owner[64];
	char member[64];

	snprintf(owner, sizeof(owner), "web:%s", client);
	snprintf(member, sizeof(member), "public-%s", client);
	return ASK(room_join, .room = T(room), .member = T(member),
		   .owner = T(owner), .record = T("{\"id\":2}"),
		   .web_ms = web_ms);
}

static struct reply *say(struct fixture *f, const char *room, const char *text)
{
	return ASK(room_say, .room = T(room), .message = T(text),
		   .messages_max = 3, .web_ms = HOUR_MS);
}

static struct reply *visit(struct fixture *f, const char *client)
{
	return ASK(web_visit, .client = T(client), .take = 10,
		   .web_ms = HOUR_MS);
}

static size_t count_members(struct fixture *f, const char *room)
{
	return ASK(room_members, .room = T(room))->count;
}

static void a_room_is_made_once(void **state)
{
	struct fixture *f = *state;
	struct reply *made = create(f, "a b:c%{d}");

	assert_done(made);
	struct reply *again = create(f, "a b:c%{d}");

	assert_int_equal(again->result, STORE_KNOWN);
	assert_int_equal(again->value, made->value);
	assert_true(made->value > 0);
	struct reply *list = ASK(room_list);

	assert_int_equal(list->count, 1);
	assert_string_equal(list->items[0].id, "a b:c%{d}");
	assert_int_equal(list->created_ms, made->value / 1000);
	assert_int_equal(ASK(room_list, .room = T("a b:c%{d}"))->count, 1);
	assert_int_equal(ASK(room_list, .room = T("a"))->count, 0);
}

static void members_join_and_leave(void **state)
{
	struct fixture *f = *state;
	struct reply *made = create(f, "r");
	struct reply *joined = join(f, "r", "c1", "n1");

	assert_done(joined);
	assert_int_equal(joined->value, made->value);
	assert_int_equal(join(f, "r", "c1", "n1")->result, STORE_KNOWN);
	assert_done(join(f, "r", "c2", "n2"));
	assert_int_equal(join(f, "none", "c1", "n1")->result, STORE_NOT_FOUND);
	assert_int_equal(ASK(room_list)->items[0].value, 2);
	struct reply *members = ASK(room_members, .room = T("r"));

	assert_done(members);
	assert_int_equal(members->count, 2);
	assert_string_equal(members->items[0].text, "{\"id\":1}");
	assert_int_equal(ASK(room_members, .room = T("none"))->result,
			 STORE_NOT_FOUND);
	/* Only by its own server. */
	assert_int_equal(ASK(room_leave, .room = T("r"), .member = T("c1"),
			     .owner = T("n2"))
				 ->result,
			 STORE_NOT_FOUND);
	assert_int_equal(count_members(f, "r"), 2);
	assert_done(ASK(room_leave, .room = T("r"), .member = T("c1"),
			.owner = T("n1")));
	members = ASK(room_members, .room = T("r"));
	assert_int_equal(members->count, 1);
	assert_string_equal(members->items[0].id, "c2");
}

static void members_go_with_their_owner(void **state)
{
	struct fixture *f = *state;

	assert_done(create(f, "r1"));
	assert_done(create(f, "r2"));
	assert_done(join(f, "r1", "c1", "n1"));
	assert_done(join(f, "r2", "c1", "n1"));
	assert_done(join(f, "r2", "c2", "n2"));
	/* It was taken for dead, and is back under another nonce. */
	assert_done(ASK(room_join, .room = T("r1"), .member = T("c1"),
			.owner = T("n3"), .record = T("{\"id\":3}"),
			.number = 1));
	struct reply *reaped = ASK(room_reap, .owner = T("n1"));

	assert_done(reaped);
	assert_int_equal(reaped->value, 1);
	assert_int_equal(ASK(room_reap, .owner = T("n1"))->value, 0);
	assert_string_equal(ASK(room_members, .room = T("r1"))->items[0].text,
			    "{\"id\":3}");
	struct reply *members = ASK(room_members, .room = T("r2"));

	assert_int_equal(members->count, 1);
	assert_string_equal(members->items[0].id, "c2");
}

static void a_destroyed_room_has_no_members(void **state)
{
	struct fixture *f = *state;
	struct reply *made = create(f, "r");

	assert_done(join(f, "r", "c1", "n1"));
	assert_done(join_web(f, "r", "w1", HOUR_MS));
	struct reply *gone = ASK(room_destroy, .room = T("r"),
				 .message = T("\"gone\""), .messages_max = 3);

	assert_done(gone);
	assert_int_equal(gone->value, made->value);
	assert_int_equal(ASK(room_destroy, .room = T("r"),
			     .message = T("\"gone\""), .messages_max = 3)
				 ->result,
			 STORE_NOT_FOUND);
	assert_int_equal(ASK(room_list)->count, 0);
	struct reply *left = visit(f, "w1");

	assert_int_equal(left->count, 1);
	assert_string_equal(left->items[0].text, "\"gone\"");
	assert_int_equal(left->value, 0); /* rooms */
	/* It was destroyed, not lost: nobody brings it back by joining. */
	assert_int_equal(ASK(room_join, .room = T("r"), .member = T("c1"),
			     .owner = T("n1"), .record = T("{\"id\":1}"),
			     .number = made->value)
				 ->result,
			 STORE_NOT_FOUND);
	struct reply *anew = create(f, "r");

	assert_done(anew);
	assert_true(anew->value != made->value);
	assert_int_equal(count_members(f, "r"), 0);
	assert_done(join(f, "r", "c1", "n1"));
}

static void a_lost_room_comes_back_with_its_members(void **state)
{
	struct fixture *f = *state;
	struct reply *joined =
		ASK(room_join, .room = T("lost"), .member = T("c1"),
		    .owner = T("n1"), .record = T("{\"id\":1}"), .number = 77);

	assert_done(joined);
	assert_true(joined->value > 0);
	assert_int_equal(ASK(room_list, .room = T("lost"))->count, 1);
	assert_int_equal(count_members(f, "lost"), 1);
}

static void what_is_said_is_left_for_web_clients(void **state)
{
	struct fixture *f = *state;

	assert_done(create(f, "r"));
	assert_done(create(f, "other"));
	assert_done(join_web(f, "r", "w1", HOUR_MS));
	assert_done(join_web(f, "r", "w2", HOUR_MS));
	assert_done(join_web(f, "other", "w3", HOUR_MS));
	assert_done(join(f, "r", "c1", "n1"));
	assert_int_equal(join_web(f, "r", "w1", HOUR_MS)->result, STORE_KNOWN);
	struct reply *said = say(f, "r", "\"1\"");

	assert_done(said);
	assert_int_equal(said->value, 2);
	assert_int_equal(say(f, "none", "1")->result, STORE_NOT_FOUND);
	assert_done(ASK(room_say, .room = T("r"), .message = T("\"2\""),
			.messages_max = 3, .speaker = T("w1"), .but = T("w1"),
			.web_ms = HOUR_MS));
	assert_int_equal(ASK(room_say, .room = T("r"), .message = T("\"3\""),
			     .messages_max = 3, .speaker = T("w3"),
			     .web_ms = HOUR_MS)
				 ->result,
			 STORE_LOST);
	struct reply *left = visit(f, "w1");

	assert_done(left);
	assert_int_equal(left->count, 1);
	assert_string_equal(left->items[0].text, "\"1\"");
	assert_int_equal(left->value, 1);
	assert_string_equal(left->items[0].id, "r");
	left = visit(f, "w2");
	assert_int_equal(left->count, 2);
	assert_string_equal(left->items[1].text, "\"2\"");
	assert_int_equal(visit(f, "w2")->count, 0);
	assert_int_equal(visit(f, "w3")->count, 0);
	assert_int_equal(visit(f, "nobody")->value, 0);
}

static void a_client_has_the_last_messages(void **state)
{
	struct fixture *f = *state;
	char text[8];

	assert_done(create(f, "r"));
	assert_done(join_web(f, "r", "w1", HOUR_MS));
	for (int i = 0; i < 5; i++) {
		snprintf(text, sizeof(text), "%d", i);
		assert_done(say(f, "r", text));
	}
	struct reply *left =
		ASK(web_visit, .client = T("w1"), .take = 2, .web_ms = HOUR_MS);

	assert_int_equal(left->count, 2);
	assert_string_equal(left->items[0].text, "2");
	left = visit(f, "w1");
	assert_int_equal(left->count, 1);
	assert_string_equal(left->items[0].text, "4");
}

static void a_message_may_be_for_one_client(void **state)
{
	struct fixture *f = *state;

	assert_done(ASK(web_push, .client = T("w1"), .message = T("{\"a\":1}"),
			.messages_max = 3, .web_ms = HOUR_MS));
	struct reply *left = visit(f, "w1");

	assert_int_equal(left->count, 1);
	assert_string_equal(left->items[0].text, "{\"a\":1}");
	assert_int_equal(visit(f, "w1")->count, 0);
}

static void a_client_that_is_silent_leaves(void **state)
{
	struct fixture *f = *state;

	assert_done(create(f, "r"));
	assert_done(join_web(f, "r", "w1", 30));
	assert_done(join_web(f, "r", "w2", HOUR_MS));
	fixture_run_ms(f, 80);
	assert_int_equal(say(f, "r", "1")->value, 1);
	struct reply *members = ASK(room_members, .room = T("r"));

	assert_int_equal(members->count, 1);
	assert_string_equal(members->items[0].id, "public-w2");
	assert_int_equal(visit(f, "w1")->count, 0);
	assert_done(join_web(f, "r", "w1", HOUR_MS));
	assert_int_equal(visit(f, "w1")->count, 0);
}

static void names_that_cannot_be_are_refused(void **state)
{
	struct fixture *f = *state;

	assert_problem(create(f, ""), -EINVAL, "STORE_NAME_INVALID");
	assert_problem(create(f, "a|b"), -EINVAL, "STORE_NAME_INVALID");
	assert_problem(join(f, "r", "c", "a\"b"), -EINVAL,
		       "STORE_NAME_INVALID");
}

/* Names as long as they may be, and all of a page of members. */
static void long_names_and_many_members(void **state)
{
	struct fixture *f = *state;
	char room[STORE_NAME_MAX + 1];
	char member[STORE_NAME_MAX + 1];

	memset(room, 'r', sizeof(room) - 1);
	memset(member, 'm', sizeof(member) - 1);
	room[STORE_NAME_MAX] = member[STORE_NAME_MAX] = '\0';
	assert_done(create(f, room));
	for (int i = 0; i < 40; i++) {
		member[0] = (char)('0' + i);
		assert_done(join(f, room, member, "n1"));
	}
	assert_int_equal(count_members(f, room), 40);
	assert_int_equal(ASK(room_reap, .owner = T("n1"))->value, 40);
	assert_int_equal(count_members(f, room), 0);
}

#define TEST(name)                                                             \
	cmocka_unit_test_setup_teardown(name, fixture_set_up, fixture_tear_down)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST(a_room_is_made_once),
		TEST(members_join_and_leave),
		TEST(members_go_with_their_owner),
		TEST(a_destroyed_room_has_no_members),
		TEST(a_lost_room_comes_back_with_its_members),
		TEST(what_is_said_is_left_for_web_clients),
		TEST(a_client_has_the_last_messages),
		TEST(a_message_may_be_for_one_client),
		TEST(a_client_that_is_silent_leaves),
		TEST(names_that_cannot_be_are_refused),
		TEST(long_names_and_many_members),
	};

	if (argc > 1)
		fixture_back_end = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
