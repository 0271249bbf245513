// Stores and process groups of c10d: how several processes find each other, and what the operators of _c10d_functional
// then reach by the group's name. Like the rest of the door, it knows nothing of what is sent.
#pragma once

#include <napi.h>

// Puts openStore, storeSet, ..., createGroup, ... on `exports`. Stores are handles of this JavaScript thread; groups are
// known by name in the whole process and end with the thread that made them.
void exportProcessGroups(Napi::Env env, Napi::Object exports);
