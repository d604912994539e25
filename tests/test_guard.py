"""The egress guard without a network: which addresses may be called, in any spelling."""

from ipaddress import IPv4Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.errors import TargetError
from app.domain.reasons import Reason
from app.egress.guard import NOT_PERMITTED, Checked, Guard
from tests.examples import CANARY, unhurried

PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "9.255.255.255",
    "11.0.0.0",
    "93.184.216.34",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.1",
    "169.253.255.255",
    "172.15.255.255",
    "172.32.0.0",
    "192.0.1.1",
    "192.167.255.255",
    "192.169.0.1",
    "198.17.255.255",
    "198.20.0.0",
    "223.255.255.255",
    "2001:4860:4860::8888",
    "2606:4700:4700::1111",
    "2a00:1450:4001:800::200e",
    "::ffff:8.8.8.8",
    "64:ff9b::808:808",
    "2002:808:808::1",
]
INNER = [
    "0.0.0.0",  # noqa: S104  # only checked, never bound
    "0.1.2.3",
    "10.0.0.1",
    "10.96.0.1",
    "10.255.255.255",
    "100.64.0.1",
    "100.100.100.200",
    "100.127.255.255",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.169.254",
    "169.254.170.2",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.0.8",
    "192.0.0.170",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.0.1",
    "192.168.255.255",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::a00:1",
    "::7f00:1",
    "::ffff:10.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::a00:1",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::808:808",
    "100::1",
    "2001::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "2001:2::1",
    "2001:10::1",
    "2001:db8::1",
    "2002:a00:1::1",
    "2002:7f00:1::1",
    "2002:a9fe:a9fe::1",
    "3fff::1",
    "4000::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fdff:ffff::1",
    "fe80::1",
    "fec0::1",
    "ff02::1",
    "ff0e::1",
]


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_permitted(address: str) -> None:
    assert Guard().permits(ip_address(address))


@pytest.mark.parametrize("address", INNER)
def test_an_address_that_is_not_public_is_denied(address: str) -> None:
    assert not Guard().permits(ip_address(address))


ALLOWED = [
    ("10.0.0.0/8", "10.1.2.3", True),
    ("10.0.0.0/8", "11.1.2.3", True),
    ("10.0.0.0/8", "172.16.0.1", False),
    ("10.1.0.0/16", "10.2.0.1", False),
    ("10.0.0.0/8", "::ffff:10.1.2.3", True),
    ("10.0.0.0/8", "64:ff9b::a01:203", True),
    ("10.0.0.0/8", "::ffff:127.0.0.1", False),
    ("127.0.0.1/32", "127.0.0.1", True),
    ("127.0.0.1/32", "127.0.0.2", False),
    ("127.0.0.0/8", "::1", False),
    ("::1/128", "::1", True),
    ("::1/128", "127.0.0.1", False),
    ("fd00::/8", "fd12::1", True),
    ("fd00::/8", "fe80::1", False),
    ("fd00::/8", "10.0.0.1", False),
    ("0.0.0.0/0", "169.254.169.254", True),
    ("0.0.0.0/0", "fd00::1", False),
    ("::/0", "fd00::1", True),
    ("::/0", "::1", True),
    # A network of IPv6 addresses, however wide, permits no IPv4 address.
    ("::/0", "10.0.0.1", False),
    ("::/0", "::ffff:10.0.0.1", False),
    ("::/0", "64:ff9b::a9fe:a9fe", False),
    ("::/0", "2002:7f00:1::1", False),
    ("::ffff:0:0/96", "::ffff:10.0.0.1", False),
    ("64:ff9b::/96", "64:ff9b::a00:1", False),
]


@pytest.mark.parametrize(("network", "address", "permitted"), ALLOWED)
def test_networks_of_the_installation_are_permitted_in_addition(
    network: str, address: str, permitted: bool
) -> None:
    assert Guard([ip_network(network)]).permits(ip_address(address)) is permitted


DENIED = [
    # The networks allowed, those denied, an address, and whether it is permitted.
    ("", "1.1.1.0/24", "1.1.1.1", False),
    ("", "1.1.1.0/24", "1.1.2.1", True),
    ("", "1.1.1.1/32", "::ffff:1.1.1.1", False),
    ("", "1.1.1.1/32", "64:ff9b::101:101", False),
    ("", "1.1.1.1/32", "2002:101:101::1", False),
    ("", "1.1.1.1/32", "64:ff9b::101:102", True),
    ("", "0.0.0.0/0", "1.1.1.1", False),
    ("", "0.0.0.0/0", "64:ff9b::101:101", False),
    ("", "0.0.0.0/0", "2606:4700:4700::1111", True),
    ("", "::/0", "2606:4700:4700::1111", False),
    ("", "::/0", "::ffff:1.1.1.1", False),
    ("", "::/0", "1.1.1.1", True),
    ("", "64:ff9b::/96", "64:ff9b::101:101", False),
    ("", "64:ff9b::/96", "1.1.1.1", True),
    ("10.0.0.0/8", "10.96.0.0/12", "10.0.0.1", True),
    ("10.0.0.0/8", "10.96.0.0/12", "10.96.0.1", False),
    ("10.0.0.0/8", "10.96.0.0/12", "::ffff:10.96.0.1", False),
    ("10.0.0.0/8", "10.96.0.0/12", "64:ff9b::a60:1", False),
    ("10.0.0.0/8", "10.96.0.0/12", "2002:a60:1::1", False),
    ("10.96.0.0/12", "10.0.0.0/8", "10.96.0.1", False),
    ("10.0.0.0/8", "10.0.0.0/8", "10.0.0.1", False),
    ("0.0.0.0/0", "169.254.0.0/16", "169.254.169.254", False),
    ("0.0.0.0/0", "169.254.0.0/16", "64:ff9b::a9fe:a9fe", False),
    ("0.0.0.0/0", "169.254.0.0/16", "10.0.0.1", True),
    ("fd00::/8", "fd00:ec2::254/128", "fd00:ec2::254", False),
    ("fd00::/8", "fd00:ec2::254/128", "fd00:ec2::255", True),
    # `::1` is not an IPv4 address, although its first 96 bits look like one.
    ("::1/128", "0.0.0.0/8", "::1", True),
]


@pytest.mark.parametrize(("allow", "deny", "address", "permitted"), DENIED)
def test_networks_denied_by_the_installation_are_denied_even_if_allowed(
    allow: str, deny: str, address: str, permitted: bool
) -> None:
    guard = Guard([ip_network(allow)] if allow else [], deny=[ip_network(deny)])
    assert guard.permits(ip_address(address)) is permitted


@pytest.mark.parametrize("url", ["https://1.1.1.1/", "https://0x01010101/", "https://[64:ff9b::101:101]/"])
def test_a_denied_ip_literal_is_refused_in_every_spelling(url: str) -> None:
    assert Guard().check(url)
    with pytest.raises(TargetError) as caught:
        Guard([ip_network("1.0.0.0/8")], deny=[ip_network("1.1.1.1/32")]).check(url)
    assert caught.value.reason is Reason.EGRESS_DENIED


LITERALS = [
    # In the usual form.
    "http://127.0.0.1/",
    "http://127.0.0.1:8080/",
    "HTTP://127.0.0.1",
    "http://127.255.255.254/",
    "http://0.0.0.0/",
    "http://10.0.0.1/",
    "http://100.64.0.1/",  # carrier-grade NAT
    "http://100.100.100.200/",  # a cloud's metadata
    "http://169.254.169.254/latest/meta-data/",
    "http://172.31.255.255/",
    "http://192.168.0.1/",
    "http://192.0.0.192/",  # another cloud's metadata
    "http://224.0.0.1/",
    "http://240.0.0.1/",
    "http://255.255.255.255/",
    # Fewer than four parts: the last one fills the rest.
    "http://127.0.1/",
    "http://127.1/",
    "http://10.1/",
    "http://192.168.1/",
    "http://169.254.43518/",
    "http://169.16689662/",
    "http://0/",
    "http://1/",
    # One number.
    "http://2130706433/",
    "http://2852039166/",
    "http://4294967295/",
    # Octal, hexadecimal, mixed, padded.
    "http://0177.0.0.1/",
    "http://0177.1/",
    "http://017700000001/",
    "http://00000000177.0.0.1/",
    "http://0000000000000017700000001/",
    "http://0300.0250.0.1/",
    "http://00.0/",
    "http://0x7f000001/",
    "http://0X7F000001/",
    "http://0xA9FEA9FE/",
    "http://0xffffffff/",
    "http://0x0/",
    "http://0x7F.0x0.0x0.0x1/",
    "http://0x7f.1/",
    "http://0x00000000000007f.0.0.1/",
    "http://127.0x0.0.01/",
    "http://0xa9.0376.0xA9FE/",
    # Dots at the end.
    "http://127.0.0.1./",
    "http://127.0.0.1../",
    "http://127.1./",
    "http://2130706433./",
    "http://0x7f.0.0.1.:8080/",
    # Digits and dots that Unicode folds into ours.
    "http://①②⑦.⓪.⓪.①/",
    "http://１２７.０.０.１/",  # noqa: RUF001  # full-width digits are the point
    "http://²130706433/",
    "http://₁₂₇.0.0.1/",
    "http://𝟙𝟚𝟟.0.0.1/",  # noqa: RUF001
    "http://0ｘ7f.1/",  # noqa: RUF001
    "http://127\u30020\u30020\u30021/",
    "http://127\uff0e0\uff0e0\uff0e1/",
    "http://127\uff610\uff610\uff611/",
    "http://127.0.0.1\u3002/",
    "http://１２７．０｡０。１/",  # noqa: RUF001
    # Percent signs.
    "http://%31%32%37.0.0.1/",
    "http://127%2e0%2E0%2e1/",
    "http://%30x7f.1/",
    "http://%ef%bc%91%ef%bc%92%ef%bc%97.0.0.1/",
    "http://127%e3%80%820%e3%80%820%e3%80%821/",
    "http://127.0.0.1%2e/",
    "http://127.0.0.1%20x/",  # the C library stops reading at the space
    "http://127.0.0.1%0a/",
    "http://127.0.0.1%25lo/",
    "http://127.0.0.1%/",
    # A name that is not valid.
    "http://localhost/",
    "http://localhost:8080/",
    "http://LocalHost./",
    "http://localhost../",
    "http://foo.localhost/",
    "http://a.b.LOCALHOST./",
    "http://localhost\u3002/",
    "http://ｌocalhost/",  # noqa: RUF001
    "http://loc%61lhost/",
    # Other parts of the URL do not hide the host.
    "http://127.0.0.1#@hooks.example.com/",
    "http://127.0.0.1?@hooks.example.com/",
    "http://127.0.0.1/@hooks.example.com/",
    # IPv6, long and short.
    "http://[::1]/",
    "http://[::1]:8080/",
    "http://[0:0:0:0:0:0:0:1]/",
    "http://[0000:0000:0000:0000:0000:0000:0000:0001]/",
    "http://[0::0:1]/",
    "http://[0:0::1]/",
    "http://[::]/",
    "http://[0::0]/",
    "http://[fc00::1]/",
    "http://[FD00:EC2::254]/",
    "http://[fd00:0ec2:0:0:0:0:0:254]/",
    "http://[fe80::1]/",
    "http://[fec0::1]/",
    "http://[ff02::1]/",
    "http://[ff0e::1]/",
    "http://[100::1]/",
    "http://[2001:db8::1]/",
    # Scoped.
    "http://[fe80::1%25eth0]/",
    "http://[fe80::1%eth0]/",
    "http://[::1%25lo]/",
    "http://[::ffff:10.0.0.1%25eth0]/",
    # IPv4 inside IPv6: mapped, compatible, NAT64, 6to4.
    "http://[::ffff:127.0.0.1]/",
    "http://[::FFFF:7F00:1]/",
    "http://[0:0:0:0:0:ffff:127.0.0.1]/",
    "http://[::ffff:0.0.0.0]/",
    "http://[::ffff:0:127.0.0.1]/",
    "http://[::127.0.0.1]/",
    "http://[::7f00:1]/",
    "http://[::a9fe:a9fe]/",
    "http://[64:ff9b::127.0.0.1]/",
    "http://[64:FF9B:0:0:0:0:A9FE:A9FE]/",
    "http://[64:ff9b:1::10.0.0.1]/",
    "http://[2002:7f00:1::]/",
    "http://[2002:a00:0001::1]/",
    "http://[2001:0:4136:e378:8000:63bf:80ff:fffe]/",  # Teredo
]


@pytest.mark.parametrize("url", LITERALS)
def test_an_internal_address_is_recognized_in_every_spelling(url: str) -> None:
    with pytest.raises(TargetError) as caught:
        Guard(http=True).check(url)
    assert caught.value.reason is Reason.EGRESS_DENIED
    assert caught.value.message == NOT_PERMITTED
    assert not caught.value.attempted
    assert not caught.value.retryable


BAD_URLS = [
    ("hooks.example.com/x", "must start with https://"),
    ("//hooks.example.com/x", "must start with https://"),
    ("/x", "must start with https://"),
    ("ftp://hooks.example.com/x", "must start with https://"),
    ("file:///etc/passwd", "must start with https://"),
    ("gopher://hooks.example.com/", "must start with https://"),
    ("javascript:alert(1)", "must start with https://"),
    ("https:hooks.example.com", "has no host"),
    ("https://", "has no host"),
    ("https:///x", "has no host"),
    ("https://:443/x", "has no host"),
    ("https://hooks.example.com:0/", "has a port that is not a number from 1 to 65535"),
    ("https://hooks.example.com:65536/", "has a port that is not a number from 1 to 65535"),
    ("https://hooks.example.com:-1/", "has a port that is not a number from 1 to 65535"),
    (f"https://hooks.example.com:{CANARY}/", "has a port that is not a number from 1 to 65535"),
    (f"https://{CANARY}@hooks.example.com/", "must not contain user info"),
    (f"https://{CANARY}:@hooks.example.com/", "must not contain user info"),
    (f"https://:{CANARY}@hooks.example.com/", "must not contain user info"),
    ("https://@hooks.example.com/", "must not contain user info"),
    ("https://hooks.example.com/a b", "must not contain white space or control characters"),
    ("https://hooks.example.com/a\r\nX-Evil: 1", "must not contain white space or control characters"),
    ("ht\ttps://hooks.example.com/", "must not contain white space or control characters"),
    ("https://hooks.example.com/\x00", "must not contain white space or control characters"),
    ("https://hooks.example.com/\u202egpj", "must not contain white space or control characters"),
    ("https://hooks.example.com/\u00a0", "must not contain white space or control characters"),
    ("https://hooks.example.com/\ud800", "must not contain white space or control characters"),
    ("https://[::1", "is not a valid URL"),
    ("https://[hooks.example.com]/", "is not a valid URL"),
    ("https://[127.0.0.1]/", "is not a valid URL"),
    ("https://[v1.127]/", "is not a valid URL"),
    ("https://[::ffff:127.1]/", "is not a valid URL"),
    ("https://[::ffff:0127.0.0.1]/", "is not a valid URL"),
    ("https://[::00001]/", "is not a valid URL"),
    ("https://[%3a%3a1]/", "is not a valid URL"),
    ("https://::1/", "has no host"),
    # Parsers disagree about the host.
    ("https://127.0.0.1\\@hooks.example.com/", "must not contain backslash"),
    ("https://hooks.example.com\\@127.0.0.1/", "must not contain backslash"),
    ("https:\\\\127.0.0.1/", "must not contain backslash"),
    ("https://hooks.example.com/a\\b", "must not contain backslash"),
    ("https://hooks.example.com@127.0.0.1/", "must not contain user info"),
    ("https://[::1]:80@hooks.example.com/", "must not contain user info"),
    ("https://127.0.0.1:80:80/", "has a port that is not a number from 1 to 65535"),
    ("https:/127.0.0.1/", "has no host"),
    ("https:127.0.0.1/", "has no host"),
    ("https://hooks.example.com|127.0.0.1/", "is not a valid URL"),
    ("https://127.0.0.1,hooks.example.com/", "is not a valid URL"),
    ("https://hooks.example.com／@127.0.0.1/", "is not a valid URL"),  # noqa: RUF001
    ("https://127\u200b.0.0.1/", "must not contain white space or control characters"),
    ("https://127.0.0.1\u00ad/", "must not contain white space or control characters"),
    # They end in a number like an address, but are not valid ones.
    ("https://4294967296/", "is not a valid URL"),
    ("https://4294967297/", "is not a valid URL"),
    ("https://0xffffffffff/", "is not a valid URL"),
    ("https://0x/", "is not a valid URL"),
    ("https://1.2.3.4.5/", "is not a valid URL"),
    ("https://1.2.3.4.5./", "is not a valid URL"),
    ("https://127.0.0.256/", "is not a valid URL"),
    ("https://256.0.0.1/", "is not a valid URL"),
    ("https://127.0.0.08/", "is not a valid URL"),
    ("https://127_0.0.1/", "is not a valid URL"),
    ("https://0b1111111.0.0.1/", "is not a valid URL"),
    ("https://0o177.0.0.1/", "is not a valid URL"),
    ("https://+127.0.0.1/", "is not a valid URL"),
    ("https://.127.0.0.1/", "is not a valid URL"),
    ("https://hooks.example.com.1/", "is not a valid URL"),
    ("https://hooks.example.0x7f/", "is not a valid URL"),
    ("https://hooks.example.0x/", "is not a valid URL"),
    # Percent signs in a host: no resolver accepts them, some clients decode them.
    ("https://hooks%2eexample.com/", "is not a valid URL"),
    ("https://%68ooks.example.com/", "is not a valid URL"),
    ("https://hooks.example.com%/", "is not a valid URL"),
    ("https://hooks.example.com%25eth0/", "is not a valid URL"),
    ("https://127.0.0.1%2f.example.com/", "is not a valid URL"),
    ("https://127.0.0.1%00.example.com/", "is not a valid URL"),
    ("https://8.8.8.8%20x/", "is not a valid URL"),
    ("https://%2531%2532%2537.0.0.1/", "is not a valid URL"),
    ("https://%/", "is not a valid URL"),
    # Public addresses in spellings that parsers read differently.
    ("https://①.①.①.①/", "is not a valid URL"),
    ("https://８.8.8.8/", "is not a valid URL"),  # noqa: RUF001
    ("https://010.010.010.010/", "is not a valid URL"),
    ("https://8.8.8.8../", "is not a valid URL"),
    ("https://[2606:4700:4700::1111]x/", "is not a valid URL"),
    ("https://[2606:4700:4700::1111].example.com/", "is not a valid URL"),
    ("https://./", "is not a valid URL"),
    ("https://hooks..example.com/", "is not a valid URL"),
    ("https://*.example.com/", "is not a valid URL"),
]


@pytest.mark.parametrize(("url", "problem"), BAD_URLS)
def test_an_unusable_url_is_refused_with_a_remedy(url: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem) as caught:
        Guard(http=True).check(url)
    assert CANARY not in str(caught.value)


def test_plain_http_is_denied_unless_the_installation_allows_it() -> None:
    url = "http://hooks.example.com/x"
    with pytest.raises(TargetError) as caught:
        Guard().check(url)
    assert caught.value.reason is Reason.EGRESS_DENIED
    assert Guard(http=True).check(url).host == "hooks.example.com"


def test_allowing_plain_http_does_not_disable_the_guard() -> None:
    with pytest.raises(TargetError):
        Guard(http=True).check("http://10.0.0.1/")


USABLE = [
    ("https://hooks.example.com", "hooks.example.com"),
    ("HTTPS://Hooks.Example.Com:8443/a?b=c#d", "hooks.example.com"),
    ("https://hooks\u3002example\u3002com/", "hooks.example.com"),
    ("https://bücher.example/ü", "xn--bcher-kva.example"),
    ("https://xn--bcher-kva.example/", "xn--bcher-kva.example"),
    ("https://faß.example/", "xn--fa-hia.example"),
    ("https://a_b.example.com/", "a_b.example.com"),
    ("https://hooks.example.com#@127.0.0.1/", "hooks.example.com"),
    ("https://hooks.example.com/?next=http://127.0.0.1/", "hooks.example.com"),
    # Names that only look like addresses: they are checked when they are dialled.
    ("https://127.0.0.1.example.com/", "127.0.0.1.example.com"),
    ("https://0x7f000001.example/", "0x7f000001.example"),
    ("https://localhost.example.com/", "localhost.example.com"),
    ("https://notlocalhost/", "notlocalhost"),
    ("https://1.example/", "1.example"),
    ("https://hooks.example.com./", "hooks.example.com"),
    ("https://8.8.8.8.:8443/", "8.8.8.8"),
    ("https://metadata.google.internal/", "metadata.google.internal"),
    # Public addresses.
    ("https://1.1.1.1/", "1.1.1.1"),
    ("https://8\u30028\u30028\u30028/", "8.8.8.8"),
    ("https://134744072/", "134744072"),
    ("https://0x08080808/", "0x08080808"),
    ("https://8.8.2056/", "8.8.2056"),
    ("https://[2606:4700:4700::1111]:8443/", "2606:4700:4700::1111"),
    ("https://[2606:4700:4700:0:0:0:0:1111]/", "2606:4700:4700:0:0:0:0:1111"),
    ("https://[::ffff:1.1.1.1]/", "::ffff:1.1.1.1"),
    ("https://[64:ff9b::8.8.8.8]/", "64:ff9b::8.8.8.8"),
]


@pytest.mark.parametrize(("url", "host"), USABLE)
def test_a_usable_url_passes_and_its_host_is_returned(url: str, host: str) -> None:
    assert Guard().check(url).host == host


@unhurried
@given(st.ip_addresses(v=4), st.data())
def test_no_mixture_of_bases_and_parts_hides_an_address(address: IPv4Address, data: st.DataObject) -> None:
    number, parts = int(address), data.draw(st.integers(1, 4))
    octets = [*address.packed[: parts - 1], number & (1 << 8 * (5 - parts)) - 1]
    form = st.sampled_from(["{}", "0{:o}", "0x{:x}", "0X{:08X}", "000{:o}"])
    host = ".".join(data.draw(form).format(part) for part in octets)
    try:
        Guard(http=True).check(f"http://{host}/")
        passed = True
    except ValueError:  # some parsers read it as octal, others as decimal
        passed = False
    except TargetError:
        passed = False
        assert not Guard().permits(address)
    assert not passed or Guard().permits(address)


@unhurried
@given(st.text(max_size=30), st.text(max_size=20))
def test_no_error_quotes_a_url(host: str, rest: str) -> None:
    said = ""
    try:
        Guard(http=True).check(f"https://{host}{CANARY}/{rest}")
    except (ValueError, TargetError) as error:
        said = str(error)
    assert CANARY not in said


@unhurried
@given(
    st.sampled_from(
        ["hooks.example.com", "8.8.8.8", "10.0.0.1", "localhost", "1.2.3", "0x7f.1", "a..b", "x" * 64]
    )
    | st.text("abz019.-", max_size=12),
    st.sampled_from(["", ":443", ":8443", ":0", ":80000", ":", "@b", "\\"]),
    st.sampled_from(["", "/", "?", "#"]),
    st.text("ab/?#@:%2fF[]\\ '\u00fc", max_size=12),
)
def test_the_verdict_on_an_origin_that_is_kept_is_that_on_the_whole_url(
    host: str, port: str, begins: str, rest: str
) -> None:
    said = []
    for scheme in ("https", "https", "HTTPS"):  # the last is always read whole
        try:
            said.append(repr(vars_of(KEEPING.check(f"{scheme}://{host}{port}{begins}{rest}"))))
        except (ValueError, TargetError) as error:
            said.append(str(error))
    assert len(set(said)) == 1


KEEPING = Guard()


def vars_of(checked: Checked) -> tuple[object, ...]:
    return checked.scheme, checked.sought, checked.written_port, checked.target
