// The virtio-serial ports that the host gave this guest, by name.
#ifndef BANGER_PORT_H
#define BANGER_PORT_H

// Open and non-blocking, or -1 with errno: EBUSY when another process has it, ENODEV when there is none.
int port_open(const char *name);
#endif
