/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs in the guest: listens on a vsock port, says "listening" on stdout, echoes one connection to
 * its end in capitals. Built statically with musl, whose headers have no vsock, hence the address
 * struct.
 */
#include <ctype.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

struct sockaddr_vm_ {
    sa_family_t family;
    uint16_t reserved;
    uint32_t port, cid;
    uint8_t flags, zero[3];
};

int main(int argc, char **argv)
{
    struct sockaddr_vm_ at = {.family = 40 /* AF_VSOCK */, .cid = UINT32_MAX};
    char buf[65536];
    ssize_t n;

    at.port = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 5000;
    int listener = socket(40, SOCK_STREAM, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&at, sizeof(at)) < 0 ||
        listen(listener, 4) < 0) {
        perror("vsock_echo");
        return 1;
    }
    puts("listening");
    fflush(stdout);
    int conn = accept(listener, NULL, NULL);
    while ((n = read(conn, buf, sizeof(buf))) > 0) {
        for (ssize_t i = 0; i < n; i++)
            buf[i] = (char)toupper((unsigned char)buf[i]);
        for (ssize_t done = 0; done < n;) {
            ssize_t w = write(conn, buf + done, (size_t)(n - done));
            if (w < 0)
                return 1;
            done += w;
        }
    }
    return 0;
}
