// Configuration that belongs to this boot lies below /run; the image's files stay as they are.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "stage1.h"
#include "util.h"

#define UNIT_DIR "/run/systemd/system"
#define UNIT_NAME "banger-agent.service"

// Survives `systemctl isolate`, stays until the last processes are ended at shutdown, and leaves its commands alone.
static const char unit[] =
    "[Unit]\n"
    "Description=banger guest agent\n"
    "DefaultDependencies=no\n"
    "IgnoreOnIsolate=yes\n"
    "StartLimitIntervalSec=0\n"
    "[Service]\n"
    "Type=simple\n"
    "ExecStart=" AGENT_PATH " serve\n"
    "KillMode=process\n"
    "Restart=always\n"
    "RestartSec=100ms\n"
    "OOMScoreAdjust=-1000\n"
    "OOMPolicy=continue\n"
    "TasksMax=infinity\n"
    "LimitNOFILE=1024:524288\n"
    "LimitCORE=infinity\n";

static void put(const char *path, unsigned mode, const char *text) {
  if (!make_parent_dirs(path) || !write_file(path, mode, text, strlen(text))) problem("cannot write %s: %s", path, strerror(errno));
}

// Binds the file over the image's. Where the image's is a link into /run (systemd-resolved), the content goes there and its
// owner may replace it later.
static void bind_over(const char *source, const char *target) {
  char link[PATH_MAX];
  ssize_t n = readlink(target, link, sizeof link - 1);
  if (n > 0) {
    link[n] = 0;
    const char *in_run = strstr(link, "run/");
    if (access(target, F_OK) != 0 && (strncmp(link, "/run/", 5) == 0 || (in_run && strncmp(link, "../", 3) == 0))) {
      char path[PATH_MAX];
      char *text = read_file(source, 1 << 16, NULL);
      snprintf(path, sizeof path, "/%s", in_run);
      if (text) put(path, 0644, text);
      free(text);
      return;
    }
  }
  struct stat st;
  if (stat(target, &st) < 0) {
    // Nothing to mount on: an empty file, on this VM's own disk.
    int fd = make_parent_dirs(target) ? open(target, O_WRONLY | O_CREAT | O_CLOEXEC, 0644) : -1;
    if (fd >= 0) close(fd);
  }
  if (mount(source, target, NULL, MS_BIND, NULL) < 0) say("cannot place %s: %s", target, strerror(errno));
}

static void write_names(const struct config *config) {
  char text[4096];
  snprintf(text, sizeof text, "%.255s\n", config->hostname);
  put("/run/banger/etc/hostname", 0644, text);
  bind_over("/run/banger/etc/hostname", "/etc/hostname");
  size_t n = (size_t)snprintf(text, sizeof text, "127.0.0.1 localhost\n127.0.1.1 %.255s\n::1 localhost ip6-localhost ip6-loopback\n", config->hostname);
  for (size_t i = 0; i < config->host_count; i++)
    n += (size_t)snprintf(text + n, sizeof text - n, "%.64s %.255s\n", config->hosts[i].address, config->hosts[i].name);
  put("/run/banger/etc/hosts", 0644, text);
  bind_over("/run/banger/etc/hosts", "/etc/hosts");
  if (sethostname(config->hostname, strlen(config->hostname)) < 0) say("hostname: %s", strerror(errno));
}

static void write_resolv_conf(const struct config *config) {
  char text[512] = "";
  size_t length = 0;
  for (size_t i = 0; i < config->nameserver_count; i++)
    length += (size_t)snprintf(text + length, sizeof text - length, "nameserver %.64s\n", config->nameservers[i]);
  if (config->nameserver_count == 0) return;
  put("/run/banger/etc/resolv.conf", 0644, text);
  bind_over("/run/banger/etc/resolv.conf", "/etc/resolv.conf");
}

// The agent has set the address already. Whoever manages networks in the image is told the same, or told to stay off.
static void write_network_files(const struct config *config) {
  char text[1024];
  size_t n = (size_t)snprintf(text, sizeof text,
      "[Match]\nMACAddress=%.20s\n[Network]\nAddress=%.40s/%u\nKeepConfiguration=yes\nLLDP=no\nEmitLLDP=no\n",
      config->mac, config->address, config->prefix);
  if (strcmp(config->gateway, "-") != 0) n += (size_t)snprintf(text + n, sizeof text - n, "Gateway=%.40s\n", config->gateway);
  for (size_t i = 0; i < config->nameserver_count; i++)
    n += (size_t)snprintf(text + n, sizeof text - n, "DNS=%.64s\n", config->nameservers[i]);
  put("/run/systemd/network/00-banger.network", 0644, text);
  // The interface is up before udev sees it; a new name would be refused.
  snprintf(text, sizeof text, "[Match]\nMACAddress=%.20s\n[Link]\nNamePolicy=keep\n", config->mac);
  put("/run/systemd/network/00-banger.link", 0644, text);
  snprintf(text, sizeof text, "[keyfile]\nunmanaged-devices=mac:%.20s\n", config->mac);
  put("/run/NetworkManager/conf.d/00-banger.conf", 0644, text);
  n = (size_t)snprintf(text, sizeof text, "[Resolve]\nDNS=");
  for (size_t i = 0; i < config->nameserver_count; i++)
    n += (size_t)snprintf(text + n, sizeof text - n, "%.64s ", config->nameservers[i]);
  snprintf(text + n, sizeof text - n, "\n");
  put("/run/systemd/resolved.conf.d/00-banger.conf", 0644, text);
}

// A shell for whoever is at the host's end of the console, once Enter comes: until then neither a session nor a line in its log.
// The name sorts before those of the image's own drop-ins, which therefore win.
static const char getty[] =
    "[Service]\n"
    "ExecStart=\n"
    "ExecStart=-/sbin/agetty --autologin root --wait-cr --noclear --keep-baud 115200,57600,38400,9600 - $TERM\n";

static void write_unit(void) {
  put(UNIT_DIR "/serial-getty@ttyS0.service.d/00-banger.conf", 0644, getty);
  put(UNIT_DIR "/" UNIT_NAME, 0644, unit);
  make_dirs(UNIT_DIR "/sysinit.target.wants");
  if (symlink("../" UNIT_NAME, UNIT_DIR "/sysinit.target.wants/" UNIT_NAME) < 0 && errno != EEXIST)
    problem("cannot enable %s: %s", UNIT_NAME, strerror(errno));
}

void write_runtime_files(const struct config *config) {
  write_names(config);
  write_resolv_conf(config);
  if (config->mac) write_network_files(config);
  write_unit();
}
