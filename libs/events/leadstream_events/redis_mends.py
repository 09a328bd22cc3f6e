"""What to do about each cause for which Redis takes no work: one line for people, in logs and answers of commands."""

from __future__ import annotations

from collections.abc import Mapping

from leadstream_events.errors import RedisCause

MENDS: Mapping[RedisCause, str] = {
    RedisCause.DOWN: "nothing answers there: start it (leadstream up), or set LEADSTREAM_REDIS_URL",
    RedisCause.TIMEOUT: "it did not answer in time: is it overloaded, or behind a firewall?",
    RedisCause.LOADING: "it is still loading its data: try again in a moment",
    RedisCause.READONLY: "it is a read-only replica: point LEADSTREAM_REDIS_URL at the master",
    RedisCause.OOM: "its memory is full: raise maxmemory or trim",
    RedisCause.MISCONF: "it cannot write its snapshot and refuses writes: look at its log and disk",
    RedisCause.NOGROUP: "the consumer group is not there (yet)",
    RedisCause.WRONGTYPE: "a key holds another type: is this database shared with another program?",
    RedisCause.AUTH: "it refuses the login: check LEADSTREAM_REDIS_USERNAME and LEADSTREAM_REDIS_PASSWORD_FILE, or "
    "what LEADSTREAM_REDIS_URL says instead",
    RedisCause.NOPERM: "its user may not do that: write the users of this version (leadstream acl) and have them "
    "read (ACL LOAD); ACL LOG says what was refused",
    RedisCause.TLS: "no trust over TLS: check LEADSTREAM_REDIS_CA_FILE against who signed the server's certificate, "
    "the host in LEADSTREAM_REDIS_URL against its names, and LEADSTREAM_REDIS_CERT_FILE where the server asks for one",
    RedisCause.CLUSTERDOWN: "the cluster is down",
    RedisCause.BUSY: "it is busy with a script: see SCRIPT KILL",
}
