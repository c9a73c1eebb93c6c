/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Directories that are caches: files with locks, and the rule that what has not been used for longest goes first. The time of last use is
 * the file's mtime.
 */
#ifndef GV_CORE_LRU_H
#define GV_CORE_LRU_H

#include <stdbool.h>
#include <stdint.h>

#include "core/error.h"

/* Opens the file at path read-write, making it if it is missing, and locks it as `how` says (LOCK_SH, LOCK_EX, with LOCK_NB: GV_E_BUSY when
 * somebody has it). Also when others remove such files the lock is one of the file that has the name. The descriptor, or -1. */
int gv_lock_open(const char *path, int how, struct gv_error *err);

struct gv_lru {
    bool (*counts)(const char *name); /* whether a file of that name is an entry */
    /* Removes the entry unless it is in use; whether it did. dir is the directory's descriptor, path its path. */
    bool (*remove)(int dir, const char *path, const char *name);
};

/* Removes the least recently used entries of the directory until the rest has at most max bytes. What cannot be removed is left: this is
 * housekeeping. */
void gv_lru_trim(const char *path, uint64_t max, const struct gv_lru *lru);

#endif
