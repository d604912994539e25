"""Clients in further languages are generated, and have the signatures on which callers rely."""

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.clients.generators import copied, done, made, need

pytestmark = pytest.mark.timeout(1200)  # the first run downloads and compiles


@dataclass(frozen=True)
class Signatures:
    """A pattern for each promised signature, and the file of the generated client that contains it."""

    deliver: tuple[str, str]
    preview: tuple[str, str]
    read: tuple[str, str]
    reason: tuple[str, str]
    grows: tuple[str, str]
    headers: tuple[str, str]


SIGNED = {
    "csharp": Signatures(
        deliver=(
            "DeliveriesApi.cs",
            r"interface IDeliverApiResponse : \S+, IOk<[\w.]*\bReport\?>, IAccepted<[\w.]*\bReport\?>",
        ),
        preview=("DeliveriesApi.cs", r"interface IPreviewApiResponse : \S+, IOk<[\w.]*\bPreviewed\?>"),
        read=("DeliveriesApi.cs", r"interface IReadDeliveryApiResponse : \S+, IOk<[\w.]*\bReport\?>"),
        reason=("Receipt.cs", r'\[JsonPropertyName\("reason"\)\]\s+public string\? Reason \{'),
        grows=(
            "Report.cs",
            r"\[JsonExtensionData\]\s+public Dictionary<string, JsonElement> AdditionalProperties",
        ),
        headers=("ApiResponse`1.cs", r"System\.Net\.Http\.Headers\.HttpResponseHeaders Headers \{ get; \}"),
    ),
    "kotlin": Signatures(
        deliver=("DeliveriesApi.kt", r"fun deliver\([^)]*\) : Report \{"),
        preview=("DeliveriesApi.kt", r"fun preview\([^)]*\) : Previewed \{"),
        read=("DeliveriesApi.kt", r"fun readDelivery\([^)]*\) : Report \{"),
        reason=("Receipt.kt", r"val reason: kotlin\.String\?,"),
        grows=(
            "Serializer.kt",
            r"KotlinJsonAdapterFactory\(\)",
        ),  # Moshi ignores unknown fields
        headers=("ApiResponse.kt", r"abstract val headers: Map<String,\s*List<String>>"),
    ),
    "php": Signatures(
        deliver=(
            "DeliveriesApi.php",
            r"@return (?!array)(?:\|?\\Delivery\\Model\\Report)+\|[\w\\|]*\s+\*/\s+public function deliver\(",
        ),
        preview=(
            "DeliveriesApi.php",
            r"@return \\Delivery\\Model\\Previewed\|[\w\\|]*\s+\*/\s+public function preview\(",
        ),
        read=(
            "DeliveriesApi.php",
            r"@return \\Delivery\\Model\\Report\|[\w\\|]*\s+\*/\s+public function readDelivery\(",
        ),
        reason=("Receipt.php", r"'reason' => 'string',"),
        grows=(
            "ObjectSerializer.php",
            r"foreach \(\$instance::openAPITypes\(\) as \$property",
        ),  # only known fields
        headers=("ApiException.php", r"public function getResponseHeaders\(\)"),
    ),
}


def generated(language: str) -> Path:
    """Return a folder with this client, generated now or earlier."""
    need("java", "mvn")

    def make(folder: Path) -> None:
        clients = copied(folder)
        done(clients / "generate", language, cwd=clients)
        (clients / language).rename(folder / "client")
        shutil.rmtree(clients)

    return made(f"signatures-{language}", make) / "client"


def signed(client: Path, signatures: Signatures) -> dict[str, bool]:
    """Return for each signature whether the client has it."""
    found = {}
    for promise, (name, pattern) in vars(signatures).items():
        [file] = client.rglob(name)
        found[promise] = bool(re.search(pattern, file.read_text()))
    return found


@pytest.mark.parametrize("language", SIGNED)
def test_a_client_that_is_not_compiled_here_has_the_promised_signatures(language: str) -> None:
    missing = [promise for promise, so in signed(generated(language), SIGNED[language]).items() if not so]
    assert not missing
