/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The room `core`: what every other room stands on. It knows nothing of images or virtual machines.
 *
 *   cleanup.h  ownership by scope          error.h  the error object, first failure to the user's line
 *   mem.h      memory, arenas, buffers     hash.h   SHA3-224, SHA-256, CRC-32, hex
 *   fs.h       files that appear whole     log.h    notes and progress, handed to whoever may print
 *   lru.h      caches and their locks      workdir.h  directories that end with their owner
 *   stdio.h    our standard descriptors, for an event loop   library.h  libraries loaded when needed
 */
#ifndef GV_CORE_H
#define GV_CORE_H

#include "core/cleanup.h"
#include "core/error.h"
#include "core/fs.h"
#include "core/hash.h"
#include "core/library.h"
#include "core/log.h"
#include "core/lru.h"
#include "core/mem.h"
#include "core/stdio.h"
#include "core/workdir.h"

#endif
