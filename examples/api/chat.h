/* chat - rooms for clients that come over HTTP: see muster/room.h. */
#pragma once
#include <muster/muster.h>

extern const struct muster_room chat_rooms[];

/* createChatRoom: `name`. */
void chat_create_room(struct muster_call *call);

/*
 * chat: `method`, and `room` and `message` where they are needed.
 *   detailsView  details: the client's id and rooms
 *   roomView     roomStatus: the room's members
 *   roomAdd, roomLeave, roomChange (out of all others)  room
 *   say          to the room, which is defaultRoom where none is named
 *   messages     what was said in the client's rooms since it last asked
 * A client that is in no room is in defaultRoom when it looks or speaks.
 */
void chat(struct muster_call *call);
int chat_is_method(struct muster_call *call, const char *name);
