/* A session of the C library, for what its command line has no words for: versions, transactions, ACLs. The servers
 * are named by HOSTS; see ../run.py for what it says. */

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <zookeeper/zookeeper.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int connected;
static int lost;
static int fired;
static int authenticated = 1;

static void fail(const char *what, int expected, int found) {
    printf("FAILED: %s: expected %d, found %d\n", what, expected, found);
    fflush(stdout);
    exit(1);
}

static void expect(const char *what, int expected, int found) {
    if (expected != found) fail(what, expected, found);
}

static void say(const char *what) {
    printf("- %s\n", what);
    fflush(stdout);
}

/* Waits until a number that a callback changes is what it should be. */
static void wait_for(const char *what, int *number, int expected) {
    struct timespec deadline;
    clock_gettime(CLOCK_REALTIME, &deadline);
    deadline.tv_sec += 30;
    pthread_mutex_lock(&lock);
    while (*number != expected)
        if (pthread_cond_timedwait(&changed, &lock, &deadline)) fail(what, expected, *number);
    pthread_mutex_unlock(&lock);
}

static void watcher(zhandle_t *zh, int type, int state, const char *path, void *context) {
    pthread_mutex_lock(&lock);
    if (type == ZOO_SESSION_EVENT) {
        connected = state == ZOO_CONNECTED_STATE;
        if (!connected) lost = 1;
    } else if (type == ZOO_CHANGED_EVENT && !strcmp(path, "/watched")) {
        fired++;
    }
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

static void on_auth(int code, const void *data) {
    pthread_mutex_lock(&lock);
    authenticated = code;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

static zhandle_t *connect_to(const char *hosts) {
    connected = 0;
    zhandle_t *zh = zookeeper_init(hosts, watcher, 10000, NULL, NULL, 0);
    if (!zh) fail("zookeeper_init", 0, -1);
    wait_for("connected", &connected, 1);
    return zh;
}

int main(void) {
    const char *hosts = getenv("HOSTS");
    struct Stat stat;
    char name[128], data[128];
    int length;
    zoo_set_debug_level(ZOO_LOG_LEVEL_ERROR);
    zhandle_t *zh = connect_to(hosts);

    say("versions");
    expect("create", ZOK, zoo_create(zh, "/a", "one", 3, &ZOO_OPEN_ACL_UNSAFE, 0, name, sizeof name));
    expect("create again", ZNODEEXISTS, zoo_create(zh, "/a", "one", 3, &ZOO_OPEN_ACL_UNSAFE, 0, name, sizeof name));
    expect("set", ZOK, zoo_set2(zh, "/a", "two", 3, 0, &stat));
    expect("the version after it", 1, stat.version);
    expect("set of the version before", ZBADVERSION, zoo_set(zh, "/a", "three", 5, 0));
    length = sizeof data;
    expect("get", ZOK, zoo_get(zh, "/a", 0, data, &length, &stat));
    expect("the data", 0, length == 3 ? memcmp(data, "two", 3) : length);

    say("sequences and ephemerals");
    int mode = ZOO_EPHEMERAL_SEQUENTIAL;
    expect("create", ZOK, zoo_create(zh, "/a/n-", "", 0, &ZOO_OPEN_ACL_UNSAFE, mode, name, sizeof name));
    expect("the name", 0, strcmp(name, "/a/n-0000000000"));
    expect("exists", ZOK, zoo_exists(zh, name, 0, &stat));
    expect("its owner", 1, stat.ephemeralOwner == zoo_client_id(zh)->client_id);
    expect("a child of it", ZNOCHILDRENFOREPHEMERALS,
           zoo_create(zh, "/a/n-0000000000/x", "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, name, sizeof name));

    say("transactions");
    zoo_op_t operations[3];
    zoo_op_result_t results[3];
    zoo_create_op_init(&operations[0], "/t", "x", 1, &ZOO_OPEN_ACL_UNSAFE, 0, name, sizeof name);
    zoo_set_op_init(&operations[1], "/t", "y", 1, 0, &stat);
    zoo_check_op_init(&operations[2], "/a", 1);
    expect("one that can be", ZOK, zoo_multi(zh, 3, operations, results));
    expect("the version in it", 1, stat.version);
    zoo_delete_op_init(&operations[0], "/t", 1);
    zoo_set_op_init(&operations[1], "/a", "y", 1, 7, &stat);
    zoo_check_op_init(&operations[2], "/a", 1);
    expect("one that cannot", ZBADVERSION, zoo_multi(zh, 3, operations, results));
    expect("its first part", ZOK, results[0].err);
    expect("its second", ZBADVERSION, results[1].err);
    expect("its third", ZRUNTIMEINCONSISTENCY, results[2].err);
    expect("it has no effect", ZOK, zoo_exists(zh, "/t", 0, &stat));

    say("ACLs");
    zhandle_t *owner = connect_to(hosts);
    expect("auth", ZOK, zoo_add_auth(owner, "digest", "user:pass", 9, on_auth, NULL));
    wait_for("proved", &authenticated, ZOK);
    expect("create", ZOK, zoo_create(owner, "/mine", "m", 1, &ZOO_CREATOR_ALL_ACL, 0, name, sizeof name));
    length = sizeof data;
    expect("a stranger's sync", ZOK, zoo_exists(zh, "/a", 0, &stat));
    expect("a stranger's set", ZNOAUTH, zoo_set(zh, "/mine", "x", 1, -1));
    expect("a stranger's get", ZNOAUTH, zoo_get(zh, "/mine", 0, data, &length, &stat));
    length = sizeof data;
    expect("the owner's get", ZOK, zoo_get(owner, "/mine", 0, data, &length, &stat));
    zookeeper_close(owner);

    say("a watch and an ephemeral outlive the server");
    expect("create", ZOK, zoo_create(zh, "/watched", "0", 1, &ZOO_OPEN_ACL_UNSAFE, 0, name, sizeof name));
    length = sizeof data;
    expect("get with a watch", ZOK, zoo_get(zh, "/watched", 1, data, &length, &stat));
    int64_t session = zoo_client_id(zh)->client_id;
    pthread_mutex_lock(&lock);
    lost = 0;
    connected = 1;
    pthread_mutex_unlock(&lock);
    printf("KILL 0x%" PRIx64 "\n", (uint64_t)session);
    fflush(stdout);
    wait_for("the connection is lost", &lost, 1);
    wait_for("connected again", &connected, 1);
    expect("the session is the same", 1, session == zoo_client_id(zh)->client_id);
    expect("the ephemeral is there", ZOK, zoo_exists(zh, "/a/n-0000000000", 0, &stat));
    expect("nothing has fired", 0, fired);
    expect("set", ZOK, zoo_set(zh, "/watched", "1", 1, -1));
    wait_for("the watch fires", &fired, 1);
    expect("set", ZOK, zoo_set(zh, "/watched", "2", 1, -1));
    expect("exists", ZOK, zoo_exists(zh, "/watched", 0, &stat));
    expect("it fires once", 1, fired);
    zookeeper_close(zh);
    printf("PASSED\n");
    return 0;
}
