"""What AWS says of a deployment before it is planned.

    identity, repository, what the parameters depend on ──► surroundings
    stack + service ──────────────────────────────────────► state, facts, what was applied last ──► Live

It only reads.  An account without credentials raises CredentialsError at the first call.
"""

from __future__ import annotations

from modelpack.deploy import DeploymentSpec, Fact, Live
from modelpack.deploy.pushing import IMAGE_DIGEST, image_tag
from modelpack_aws.place import Place
from modelpack_aws.planning import facts_of
from modelpack_aws.session import said
from modelpack_aws.wanted import Wanted


def live_of(place: Place, spec: DeploymentSpec, wanted: Wanted) -> Live:
    """Return what stands under the name of a spec, and what it would stand on.

    Raises CredentialsError, ConflictError for a stack that is not ours, UsageError when the account
    has no network to stand in.
    """
    with said("ask AWS who asks"):
        caller = place.clients.client("sts").get_caller_identity()
    images = place.images.look(wanted, image_tag(spec))
    around: dict[str, Fact] = {
        "account": str(caller["Account"]),
        "repository": None if images is None else images.uri,
        IMAGE_DIGEST: None if images is None else images.digest,
        **place.around(wanted),
    }
    standing = place.read(spec.name)
    if standing is None or standing.kept is None or standing.stack.never_came_up:
        return Live(name=spec.name, surroundings=around)
    sight, kept = place.look(standing), standing.kept
    applied = facts_of(kept.now)
    return Live(
        name=spec.name,
        state=sight.state,
        facts=applied | dict(sight.facts),
        applied=applied,
        surroundings=around,
        revision=kept.revision,
        is_settled=images is not None and images.settled == kept.now.mark,
    )
