/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Datagrams for usernet.bats, in the guest: `udp ADDRESS PORT TEXT` sends one and prints the answer, or why none came within ten
 * seconds; `udp PORT` answers each with "got " and what it was, on IPv4.
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

int main(int argc, char **argv)
{
    char buf[2048] = "got ";
    struct sockaddr_in a = { .sin_family = AF_INET };
    socklen_t len = sizeof(a);
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    if (fd < 0 || (argc != 2 && argc != 4))
        return 2;
    a.sin_port = htons((unsigned short)atoi(argv[argc == 2 ? 1 : 2]));
    if (argc == 2) {
        if (bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
            return 2;
        for (;;) {
            ssize_t n = recvfrom(fd, buf + 4, sizeof(buf) - 4, 0, (struct sockaddr *)&a, &len);
            if (n >= 0)
                sendto(fd, buf, (size_t)n + 4, 0, (struct sockaddr *)&a, len);
        }
    }
    struct timeval patience = { .tv_sec = 10 };
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    ssize_t n = -1;
    if (inet_pton(AF_INET, argv[1], &a.sin_addr) == 1 && connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0 &&
        send(fd, argv[3], strlen(argv[3]), 0) >= 0)
        n = recv(fd, buf, sizeof(buf), 0);
    if (n < 0) {
        perror("udp");
        return 1;
    }
    printf("%.*s\n", (int)n, buf);
    return 0;
}
