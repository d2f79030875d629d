#include "address.h"

#include <arpa/inet.h>
#include <string.h>

bool address_parse(struct sockaddr_storage *out, socklen_t *length, const char *host, uint16_t port) {
  struct sockaddr_in *v4 = (struct sockaddr_in *)out;
  struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)out;
  memset(out, 0, sizeof *out);
  if (inet_pton(AF_INET, host, &v4->sin_addr) == 1) {
    v4->sin_family = AF_INET;
    v4->sin_port = htons(port);
    *length = sizeof *v4;
    return true;
  }
  if (inet_pton(AF_INET6, host, &v6->sin6_addr) == 1) {
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(port);
    *length = sizeof *v6;
    return true;
  }
  return false;
}

void address_text(const struct sockaddr_storage *address, char host[INET6_ADDRSTRLEN], uint16_t *port) {
  const struct sockaddr_in *v4 = (const struct sockaddr_in *)address;
  const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)address;
  host[0] = 0;
  *port = 0;
  if (address->ss_family == AF_INET) {
    inet_ntop(AF_INET, &v4->sin_addr, host, INET6_ADDRSTRLEN);
    *port = ntohs(v4->sin_port);
  } else if (address->ss_family == AF_INET6) {
    if (IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr))
      inet_ntop(AF_INET, v6->sin6_addr.s6_addr + 12, host, INET6_ADDRSTRLEN);
    else
      inet_ntop(AF_INET6, &v6->sin6_addr, host, INET6_ADDRSTRLEN);
    *port = ntohs(v6->sin6_port);
  }
}
