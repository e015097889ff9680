# SplineServe in a container: the server, the sample client, the spline compiler and the shipped models.
#
#   docker build -t splineserve .
#   docker run --rm --read-only -p 8001:8001 -p 8002:8002 splineserve
#   docker run --rm --network host --entrypoint splineserve-client splineserve models
#
# Mount other models over /models; further options of the server go behind the image's name.
ARG BASE=docker.io/library/debian:bookworm-slim

FROM ${BASE} AS build
WORKDIR /src
# First the packages alone: this layer is kept until they change.
COPY deploy/install_dependencies.sh deploy/
RUN deploy/install_dependencies.sh --build
COPY CMakeLists.txt CMakePresets.json ./
COPY cmake cmake
COPY core core
COPY proto proto
COPY server server
COPY client client
RUN cmake --preset release -DSPLINESERVE_BUILD_TESTS=OFF -DSPLINESERVE_BUILD_BENCHMARKS=OFF \
    && cmake --build --preset release --target splineserve splineserve-client splineserve-compile \
    && strip build/release/bin/splineserve build/release/bin/splineserve-client build/release/bin/splineserve-compile

FROM ${BASE}
COPY deploy/install_dependencies.sh /tmp/
RUN /tmp/install_dependencies.sh --runtime \
    && rm -rf /tmp/install_dependencies.sh /var/lib/apt/lists/* /var/cache/apt/*.bin
COPY --from=build /src/build/release/bin/splineserve /src/build/release/bin/splineserve-client /src/build/release/bin/splineserve-compile \
    /usr/local/bin/
# All start: every library that they load is in this stage.
RUN splineserve --help >/dev/null && splineserve-client --help >/dev/null && splineserve-compile --help >/dev/null
COPY LICENSE /usr/share/doc/splineserve/LICENSE
COPY models/repository /models
# No name needed: the server writes nothing, anywhere.
USER 65532:65532
EXPOSE 8001 8002
STOPSIGNAL SIGTERM
# The server asks itself; the port is the default one of --listen.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["splineserve", "--check-health", "127.0.0.1:8001"]
ENTRYPOINT ["splineserve", "--model-repository", "/models"]
