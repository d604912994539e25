"""How certificates from the installation's own certificate authorities are verified, as kubectl does."""

import ssl


def trust_as_named(context: ssl.SSLContext) -> None:
    """Trust the certificate authorities that are loaded into a context, as their owner intends."""
    # Those of older clusters lack key identifiers, which Python 3.13 asks for.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    # Who names one in between trusts that, without the one above it; so does Python 3.13.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
