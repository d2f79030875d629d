// SFTP version 3 server over stdin and stdout (draft-ietf-secsh-filexfer-02, with OpenSSH's extensions).
#ifndef BANGER_SFTP_H
#define BANGER_SFTP_H
// `agent sftp [DIRECTORY]`: serves until the end of stdin. Uses nothing of the rest of the agent.
// Exit code: 0 at the end of stdin, 1 when an end of the connection failed, 2 for wrong arguments, 11 after a malformed packet.
int sftp_main(int argc, char **argv);
#endif
