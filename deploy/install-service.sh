#!/bin/sh
# Installs one service into a folder of its own, from its hashed requirement file and nothing else.
#
#   sh deploy/install-service.sh SERVICE TARGET [requirements|packages]
#
# SERVICE: api, mailer (holds the fan-out too), projections, archiver, bounces or cli. TARGET: a folder that becomes a
# virtual environment without pip; start the service with TARGET/bin/python -P -m leadstream_SERVICE. The Dockerfiles call this
# in two steps, so that new code alone does not install the requirements again; without a step both are done.
# PYTHON is any Python from 3.11 on that has pip. With TRACING=1 OpenTelemetry is installed too (docs/tracing.md). Run from
# the root of the repository; running it again upgrades.
set -eu

usage() { sed -n '4s/^# *//p' "$0" >&2; exit 2; }

[ $# -ge 2 ] || usage
service=$1 target=$2 step=${3:-all}
python=${PYTHON:-python3}

case $service in
  api)
    packages="libs/events/leadstream_events libs/mail/leadstream_mail libs/archive/leadstream_archive
      services/api/leadstream_api"
    ;;
  mailer) packages="libs/events/leadstream_events libs/mail/leadstream_mail services/mailer/leadstream_mailer" ;;
  bounces) packages="libs/events/leadstream_events libs/mail/leadstream_mail services/bounces/leadstream_bounces" ;;
  projections)
    packages="libs/events/leadstream_events libs/archive/leadstream_archive services/projections/leadstream_projections"
    ;;
  archiver)
    packages="libs/events/leadstream_events libs/archive/leadstream_archive services/archiver/leadstream_archiver"
    ;;
  cli)
    packages="libs/events/leadstream_events libs/mail/leadstream_mail libs/archive/leadstream_archive
      services/api/leadstream_api services/archiver/leadstream_archiver
      services/mailer/leadstream_mailer services/projections/leadstream_projections
      services/bounces/leadstream_bounces cli/leadstream_cli"
    ;;
  *) usage ;;
esac
case $step in all | requirements | packages) ;; *) usage ;; esac

if [ "$step" != packages ]; then
  "$python" -m venv --without-pip "$target"
  "$python" -m pip --python "$target/bin/python" install --quiet --disable-pip-version-check --no-input \
    --no-cache-dir --only-binary :all: --require-hashes -r "requirements/$service.txt" \
    ${TRACING:+-r requirements/tracing.txt}
fi

if [ "$step" != requirements ]; then
  site=$("$target/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
  # What an older version left must not be imported by the new one.
  rm -rf "$site"/leadstream_* "$site"/leadstream-*.dist-info
  for package in $packages; do
    cp -R "$package" "$site/"
  done
  find "$site"/leadstream_* -name __pycache__ -type d -prune -exec rm -rf {} +
  # importlib.metadata answers for the version, and scanners of images see what is inside.
  "$python" - "$site" <<'METADATA'
import pathlib, sys, tomllib
project = tomllib.loads(pathlib.Path("pyproject.toml").read_text())["project"]
folder = pathlib.Path(sys.argv[1], f"{project['name']}-{project['version']}.dist-info")
folder.mkdir()
folder.joinpath("METADATA").write_text(
    f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\nLicense: {project['license']}\n"
)
METADATA
  "$target/bin/python" -m compileall -q "$site"
fi
