/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What gvmkit and gvmkit-net have agreed on, beside the words in usernet.h. */
#ifndef GV_USERNET_WORDS_H
#define GV_USERNET_WORDS_H

#define USERNET_PROGRAM "gvmkit-net"
#define USERNET_PROGRAM_ENV "GVMKIT_NET" /* its path, for a build tree */
#define USERNET_FRAMES_FD 0
#define USERNET_CONTROL_FD 1
#define USERNET_MESSAGE_MAX 1200U /* bytes of a message: an error's text, and a word */

#endif
