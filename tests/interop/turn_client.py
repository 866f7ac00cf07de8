"""A TURN client of a few lines (RFC 8656), for what coturn's tools do not say: which error came, and which address was given."""

import hashlib
import hmac
import ipaddress
import secrets
import socket
import struct

MAGIC = bytes.fromhex("2112a442")
ALLOCATE, REFRESH, SEND, DATA, PERMIT, BIND = 0x0003, 0x0004, 0x0016, 0x0017, 0x0008, 0x0009
CHANNEL_NUMBER, LIFETIME, XOR_PEER, PAYLOAD = 0x000C, 0x000D, 0x0012, 0x0013
USERNAME, INTEGRITY, ERROR, REALM, NONCE = 0x0006, 0x0008, 0x0009, 0x0014, 0x0015
XOR_RELAYED, FAMILY, TRANSPORT, XOR_MAPPED = 0x0016, 0x0017, 0x0019, 0x0020
SECOND_FAMILY, ADDRESS_ERROR = 0x8000, 0x8001
IPV4, IPV6 = 1, 2


def message(kind, attributes=b"", transaction=None):
    return struct.pack("!HH", kind, len(attributes)) + MAGIC + (transaction or secrets.token_bytes(12)) + attributes


def attribute(kind, value):
    return struct.pack("!HH", kind, len(value)) + value + bytes(-len(value) % 4)


def family(kind, which):
    return attribute(kind, bytes([which, 0, 0, 0]))


def read(answer):
    """Its attributes by their number."""
    found, rest = {}, answer[20:]
    while len(rest) >= 4:
        kind, length = struct.unpack("!HH", rest[:4])
        found.setdefault(kind, rest[4 : 4 + length])
        rest = rest[4 + length + -length % 4 :]
    return found


class Client:
    """One socket of a client to a server, by a name whose password does not expire."""

    def __init__(self, server, name="phone", password="1234"):
        kind = socket.AF_INET6 if ":" in server[0] else socket.AF_INET
        self.socket = socket.socket(kind, socket.SOCK_DGRAM)
        self.socket.settimeout(10)
        self.socket.connect(server)
        self.name, self.password = name, password
        self.nonce = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def ask(self, kind, *attributes):
        """Signs, sends and waits: the answer's attributes, and the number of its error or none."""
        for _ in range(2):
            request = self.request(kind, *attributes)
            self.socket.send(request)
            while (answer := self.socket.recv(2_048))[4:20] != request[4:20]:
                pass
            found = read(answer)
            code = found[ERROR][2] * 100 + found[ERROR][3] if ERROR in found else None
            if code not in (401, 438) or self.nonce == found.get(NONCE):
                break
            self.realm, self.nonce = found[REALM], found[NONCE]
        self.transaction = request[8:20]
        return found, code

    def request(self, kind, *attributes):
        """Signed as RFC 8489 §9.2 has it, with the key of MD5 that every client knows, once there was a challenge."""
        transaction = secrets.token_bytes(12)
        asked = b"".join(each(transaction) if callable(each) else each for each in attributes)
        if not self.nonce:
            return message(kind, asked, transaction)
        asked += attribute(USERNAME, self.name.encode()) + attribute(REALM, self.realm) + attribute(NONCE, self.nonce)
        key = hashlib.md5(b":".join([self.name.encode(), self.realm, self.password.encode()])).digest()
        whole = message(kind, asked + bytes(24), transaction)[:-24]
        return whole + attribute(INTEGRITY, hmac.digest(key, whole, "sha1"))

    def allocate(self, *attributes):
        """The relayed address or none, the number of the error or none, and all attributes of the answer."""
        found, code = self.ask(ALLOCATE, attribute(TRANSPORT, bytes([17, 0, 0, 0])), *attributes)
        return (self.address(found[XOR_RELAYED]) if XOR_RELAYED in found else None), code, found

    def address(self, value):
        """What an XOR-…-ADDRESS of the last answer says."""
        return address(value, self.transaction)


def peer(ip, port):
    """An XOR-PEER-ADDRESS, which of IPv6 depends on the transaction."""
    packed = ipaddress.ip_address(ip).packed
    which = IPV4 if len(packed) == 4 else IPV6

    def made(transaction):
        masked = bytes(a ^ b for a, b in zip(packed, MAGIC + transaction))
        return attribute(XOR_PEER, struct.pack("!BBH", 0, which, port ^ 0x2112) + masked)

    return made


def address(value, transaction):
    """What an XOR-…-ADDRESS says."""
    ip = bytes(a ^ b for a, b in zip(value[4:], MAGIC + transaction))
    return str(ipaddress.ip_address(ip)), struct.unpack("!H", value[2:4])[0] ^ 0x2112
