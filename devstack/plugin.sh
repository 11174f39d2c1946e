# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0

# DevStack sources this file in each of its phases. The series can go on Nova
# only after stack.sh has cloned it, and has to before the database is made.

function _nova_series {
    (cd "$NOVA_SERIES_DIR" && ./run "$@")
}

if [[ "$1 $2" == "stack pre-install" ]]; then
    # What stack.sh clones next: the clients, later Tempest.
    _nova_series build \
        || die $LINENO "The series could not be built: see above."
elif [[ "$1 $2" == "stack install" ]] && is_service_enabled nova; then
    if [[ "$NOVA_BRANCH" == "master" ]]; then
        die $LINENO "The series is made for a release of Nova: set" \
            "NOVA_BRANCH to its tag or its stable branch."
    fi
    _nova_series export checkout --replace "$NOVA_DIR" \
        || die $LINENO "$NOVA_DIR is without the series: see above."
    # Entry points and requirements may be new.
    setup_develop "$NOVA_DIR"
elif [[ "$1 $2" == "stack test-config" ]] && is_service_enabled tempest; then
    iniset "$TEMPEST_CONFIG" compute-feature-enabled live_migrate_rescued \
        "${LIVE_MIGRATION_AVAILABLE:-False}"
elif [[ "$1" == "unstack" || "$1" == "clean" ]]; then
    if [[ -d "$NOVA_DIR/.git" ]]; then
        _nova_series export checkout --undo "$NOVA_DIR" \
            || warn $LINENO "$NOVA_DIR still has the series: see above."
    fi
fi
