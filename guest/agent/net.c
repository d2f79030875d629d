// The guest's address, by the old ioctls: one interface, one address, one route need no netlink.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <net/if.h>
#include <net/route.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "stage1.h"
#include "util.h"

static bool find_interface(const char *mac, char name[IFNAMSIZ]) {
  DIR *dir = opendir("/sys/class/net");
  if (!dir) return false;
  bool found = false;
  struct dirent *entry;
  while (!found && (entry = readdir(dir))) {
    char path[300], address[64];
    if (entry->d_name[0] == '.' || strlen(entry->d_name) >= IFNAMSIZ) continue;
    snprintf(path, sizeof path, "/sys/class/net/%s/address", entry->d_name);
    if (!read_line(path, address, sizeof address) || strcasecmp(address, mac) != 0) continue;
    strcpy(name, entry->d_name);
    found = true;
  }
  closedir(dir);
  return found;
}

static struct ifreq request_for(const char *name) {
  struct ifreq request = {0};
  strncpy(request.ifr_name, name, IFNAMSIZ - 1);
  return request;
}

static bool bring_up(int fd, const char *name) {
  struct ifreq request = request_for(name);
  if (ioctl(fd, SIOCGIFFLAGS, &request) < 0) return false;
  request.ifr_flags |= IFF_UP;
  return ioctl(fd, SIOCSIFFLAGS, &request) == 0;
}

static bool set_address(int fd, const char *name, unsigned long what, struct in_addr address) {
  struct ifreq request = request_for(name);
  struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr = address};
  memcpy(&request.ifr_addr, &in, sizeof in);
  return ioctl(fd, (int)what, &request) == 0;
}

static bool add_default_route(int fd, const char *gateway) {
  struct rtentry route = {.rt_flags = RTF_UP | RTF_GATEWAY};
  struct sockaddr_in via = {.sin_family = AF_INET}, any = {.sin_family = AF_INET};
  if (inet_pton(AF_INET, gateway, &via.sin_addr) != 1) {
    errno = EINVAL;
    return false;
  }
  memcpy(&route.rt_gateway, &via, sizeof via);
  memcpy(&route.rt_dst, &any, sizeof any);
  memcpy(&route.rt_genmask, &any, sizeof any);
  return ioctl(fd, SIOCADDRT, &route) == 0 || errno == EEXIST;
}

static bool configure(int fd, const struct config *config, const char *name) {
  struct in_addr address, mask = {.s_addr = config->prefix ? htonl(0xffffffffU << (32 - config->prefix)) : 0};
  if (inet_pton(AF_INET, config->address, &address) != 1) {
    errno = EINVAL;
    return false;
  }
  struct ifreq mtu = request_for(name);
  mtu.ifr_mtu = (int)config->mtu;
  if (config->mtu > 0 && ioctl(fd, SIOCSIFMTU, &mtu) < 0) say("mtu %u of %s: %s", config->mtu, name, strerror(errno));
  return set_address(fd, name, SIOCSIFADDR, address) && set_address(fd, name, SIOCSIFNETMASK, mask) && bring_up(fd, name) &&
         (strcmp(config->gateway, "-") == 0 || add_default_route(fd, config->gateway));
}

void network_up(const struct config *config) {
  char name[IFNAMSIZ];
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0 || !bring_up(fd, "lo")) say("loopback: %s", strerror(errno));
  if (fd >= 0 && config->mac) {
    int64_t limit = now_ms() + 5000;
    bool found;
    while (!(found = find_interface(config->mac, name)) && now_ms() < limit) sleep_ms(5);
    if (!found)
      problem("no network interface %s", config->mac);
    else if (!configure(fd, config, name))
      problem("network interface %s: %s", name, strerror(errno));
  }
  close_fd(&fd);
}
