"""How certificates from the installation's own certificate authorities are verified, as kubectl does."""

import ssl


def trust_as_named(context: ssl.SSLContext) -> None:
    """Trust the certificate authorities in a context as their owner intends."""
    # Those of older clusters lack key identifiers, which Python 3.13 requires.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    # An intermediate certificate authority is trusted without the one above it, as in Python 3.13.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
