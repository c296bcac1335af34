# kilowit on a CPU. Build: docker build -t kilowit .   Run: docker run --rm -v "$PWD:/data" kilowit run study.yaml
# Extras are chosen when it is built: docker build --build-arg EXTRAS=train,onnx,serve .
# For torch without CUDA, name its CPU index as torch's own site gives it: --build-arg PIP_EXTRA_INDEX_URL=...
FROM python:3.11-bookworm AS build
ARG EXTRAS=train,metrics,onnx,serve
ARG PIP_EXTRA_INDEX_URL=
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE CHANGELOG.md ./
COPY tools/hatch_build.py tools/hatch_build.py
COPY studies studies
COPY src src
RUN python -m venv /opt/kilowit
RUN /opt/kilowit/bin/python -m pip install --no-cache-dir --constraint constraints.txt ".[${EXTRAS}]"

FROM python:3.11-slim-bookworm
COPY --from=build /opt/kilowit /opt/kilowit
COPY --from=build /src/studies /opt/studies
RUN install --directory --mode=1777 /data
# HOME is where caches go: the container has no user of that number.
ENV PATH="/opt/kilowit/bin:$PATH" HOME=/data HF_HOME=/data/.cache/huggingface
WORKDIR /data
USER 10001:10001
# RAPL and NVML are the host's: without them the documented model of the host meters, and `kilowit doctor` says so.
ENTRYPOINT ["kilowit"]
CMD ["doctor"]
