/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * GNU libmicrohttpd, loaded when there is something to serve: it brings GnuTLS with it, and every other start of the program would wait for the two.
 */
#ifndef GV_SERVE_MHD_H
#define GV_SERVE_MHD_H

#include <microhttpd.h>

#include "core/core.h"

struct mhd_api {
    __typeof__(MHD_is_feature_supported) *is_feature_supported;
    __typeof__(MHD_start_daemon) *start_daemon;
    __typeof__(MHD_stop_daemon) *stop_daemon;
    __typeof__(MHD_suspend_connection) *suspend_connection;
    __typeof__(MHD_resume_connection) *resume_connection;
    __typeof__(MHD_lookup_connection_value) *lookup_connection_value;
    __typeof__(MHD_get_connection_values) *get_connection_values;
    __typeof__(MHD_get_connection_info) *get_connection_info;
    __typeof__(MHD_queue_response) *queue_response;
    __typeof__(MHD_create_response_from_buffer) *create_response_from_buffer;
    __typeof__(MHD_create_response_from_fd_at_offset64) *create_response_from_fd_at_offset64;
    __typeof__(MHD_create_response_from_callback) *create_response_from_callback;
    __typeof__(MHD_add_response_header) *add_response_header;
    __typeof__(MHD_destroy_response) *destroy_response;
    __typeof__(MHD_create_post_processor) *create_post_processor;
    __typeof__(MHD_post_process) *post_process;
    __typeof__(MHD_destroy_post_processor) *destroy_post_processor;
};

/* The library; from any thread. NULL when it is not installed. */
const struct mhd_api *mhd_load(struct gv_error *err);

#endif
