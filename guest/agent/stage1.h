// From the first instruction as /init to the image's init, or to being PID 1 in the image.
#ifndef BANGER_STAGE1_H
#define BANGER_STAGE1_H
#include "config.h"

#define AGENT_PATH "/run/banger/agent"
#define CONFIG_PATH "/run/banger/config"
#define PROBLEMS_PATH "/run/banger/problems"

// Returns only when this process shall go on as PID 1 in the image.
void stage1_run(struct config *config);

// modules.c: loads what /banger/modules lists, in order.
void modules_load(const char *list);

// mounts.c
void mount_early(void);
// Finds a drive by its virtio serial, waiting up to `limit_ms`; `device` gets /dev/<name>.
bool drive_find(const char *serial, int limit_ms, char *device, size_t size);
// Mounts the root disk and the file systems of the running system into it, and makes it the root.
void switch_root(void);
// Drives of the configuration, with the first-boot copy; ext4 ones grow to their device.
void mount_drives(const struct config *config);
void grow_ext4(const char *mount_point, const char *device);
// What an init would mount; used when the agent stays PID 1.
void mount_system(void);
// The part of it below /dev: commands may come before the image's init has mounted it.
void mount_dev(void);

// seed.c: copies the directory `from` into the empty file system mounted at `to`; survives being cut off anywhere.
bool seed_directory(const char *from, const char *to);

// etc.c: hostname, hosts and resolv.conf over the image's files, units and network files for systemd.
void write_runtime_files(const struct config *config);

// tmp.c: what systemd does about /tmp at boot, before anybody uses it.
void prepare_tmp(void);

// net.c: loopback, address, route.
void network_up(const struct config *config);

// init.c: the image's init that `mode` allows, or NULL; `*is_systemd` tells how the agent becomes its service.
const char *find_init(enum init_mode mode, bool *is_systemd);
#endif
