// IP addresses as text.
#ifndef BANGER_ADDRESS_H
#define BANGER_ADDRESS_H
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

bool address_parse(struct sockaddr_storage *out, socklen_t *length, const char *host, uint16_t port);
// An IPv4 address that came through an IPv6 socket is shown as what it is.
void address_text(const struct sockaddr_storage *address, char host[INET6_ADDRSTRLEN], uint16_t *port);
#endif
