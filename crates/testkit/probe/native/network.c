/* The op `network`: threat 35, the first half of 36. */

#define CONNECT_MS 500

/* An errno; ETIMEDOUT when nobody answers in time. */
static int connect_in_time(int family, const void *address, socklen_t length) {
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return errno;
    int error = error_of(connect(fd, address, length));
    if (error == EINPROGRESS) {
        struct pollfd wait = {.fd = fd, .events = POLLOUT};
        socklen_t size = sizeof error;
        error = ETIMEDOUT;
        if (poll(&wait, 1, CONNECT_MS) == 1) getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
    }
    close(fd);
    return error;
}

static int connect_ip4(const char *host, uint16_t port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    if (inet_pton(AF_INET, host, &address.sin_addr) != 1) return EINVAL;
    return connect_in_time(AF_INET, &address, sizeof address);
}

static int connect_ip6(const char *host, uint16_t port) {
    struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    if (inet_pton(AF_INET6, host, &address.sin6_addr) != 1) return EINVAL;
    return connect_in_time(AF_INET6, &address, sizeof address);
}

static int connect_abstract(const char *name) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t length = strnlen(name, sizeof address.sun_path - 1);
    memcpy(address.sun_path + 1, name, length);
    return connect_in_time(AF_UNIX, &address,
                           (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + length));
}

static int connect_vsock_cid(unsigned cid, uint32_t port) {
    struct sockaddr_vm address = {.svm_family = AF_VSOCK, .svm_cid = cid, .svm_port = port};
    return connect_in_time(AF_VSOCK, &address, sizeof address);
}

/* One datagram to the name service port. */
static int send_udp(const char *host) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(53)};
    inet_pton(AF_INET, host, &address.sin_addr);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return errno;
    int error = error_of(sendto(fd, "", 1, MSG_DONTWAIT, (struct sockaddr *)&address, sizeof address));
    close(fd);
    return error;
}

static int open_socket(int family, int type, int protocol) {
    int fd = socket(family, type | SOCK_CLOEXEC, protocol);
    int error = error_of(fd);
    if (fd >= 0) close(fd);
    return error;
}

/* The interfaces, by netlink: {"NAME":{"up":B,"addresses":N}}; an address is one of IP. */
static void put_interfaces(void) {
    struct ifaddrs *all = NULL;
    int error = error_of(getifaddrs(&all));
    struct if_nameindex *names = if_nameindex();
    put_int_member("netlink_dump", error);
    key("interfaces");
    put("{");
    for (struct if_nameindex *name = names; name && name->if_index != 0; name++) {
        int addresses = 0;
        bool up = false;
        for (struct ifaddrs *at = all; at; at = at->ifa_next) {
            if (strcmp(at->ifa_name, name->if_name) != 0) continue;
            up |= (at->ifa_flags & IFF_UP) != 0;
            addresses += at->ifa_addr && (at->ifa_addr->sa_family == AF_INET ||
                                          at->ifa_addr->sa_family == AF_INET6);
        }
        key(name->if_name);
        put("{");
        put_bool_member("up", up);
        put_int_member("addresses", addresses);
        put("}");
    }
    put("}");
    if (names) if_freenameindex(names);
    if (all) freeifaddrs(all);
}

/* {"port":N,"host":H,"abstract":A,"unix":P}: an errno for each way out; -1 where an argument is
 * missing. */
static void op_network(void) {
    uint16_t port = (uint16_t)number("port");
    static char host[64], abstract[108], path[PATH_SIZE];
    string("host", host, sizeof host, "");
    string("abstract", abstract, sizeof abstract, "");
    string("unix", path, sizeof path, "");
    put("{");
    put_int_member("loopback4", connect_ip4("127.0.0.1", port));
    put_int_member("loopback6", connect_ip6("::1", port));
    put_int_member("mapped", connect_ip6("::ffff:127.0.0.1", port));
    put_int_member("any", connect_ip4("0.0.0.0", port));
    put_int_member("host", *host ? connect_ip4(host, port) : -1);
    put_int_member("metadata", connect_ip4("169.254.169.254", 80));
    put_int_member("udp", send_udp(*host ? host : "192.0.2.1"));
    put_int_member("abstract", *abstract ? connect_abstract(abstract) : -1);
    put_int_member("unix", connect_unix(path));
    put_int_member("vsock_host", connect_vsock_cid(VMADDR_CID_HOST, port));
    put_int_member("vsock_local", connect_vsock_cid(1 /* VMADDR_CID_LOCAL */, port));
    put_int_member("vsock_socket", open_socket(AF_VSOCK, SOCK_STREAM, 0));
    put_int_member("packet", open_socket(AF_PACKET, SOCK_RAW, htons(3 /* ETH_P_ALL */)));
    put_int_member("raw4", open_socket(AF_INET, SOCK_RAW, IPPROTO_ICMP));
    put_int_member("raw6", open_socket(AF_INET6, SOCK_RAW, IPPROTO_ICMPV6));
    put_int_member("netlink", open_socket(AF_NETLINK, SOCK_RAW, 0 /* NETLINK_ROUTE */));
    put_int_member("netlink_audit", open_socket(AF_NETLINK, SOCK_RAW, 9 /* NETLINK_AUDIT */));
    put_int_member("alg", open_socket(AF_ALG, SOCK_SEQPACKET, 0));
    put_int_member("bluetooth", open_socket(AF_BLUETOOTH, SOCK_RAW, 1));
    put_int_member("can", open_socket(AF_CAN, SOCK_RAW, 1));
    put_interfaces();
    put("}");
}
