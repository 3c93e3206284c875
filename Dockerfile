# The gateway as an image: `docker build -t vllm-gateway .` in a clone. The machine needs Docker and nothing else.
#
# Debian, not Alpine: the NVIDIA toolkit mounts its own nvidia-smi into containers, which needs glibc.
# No RUN line needs a shell, and none stands in the last stage: what is added to the base is one tree of files.
ARG NODE_IMAGE=node:22-bookworm-slim

FROM ${NODE_IMAGE} AS build
WORKDIR /build
COPY . .
RUN ["node", "tools/run.mjs", "build"]
RUN ["node", "tools/image/assemble.mjs", "/image"]

FROM ${NODE_IMAGE}
COPY --from=build /image/root/ /
COPY --from=build --chown=10001:10001 /image/state/ /app/data/
WORKDIR /app
# GATEWAY_AUTH=none: users of the predecessor change the name of the image and nothing else. What may change something
# answers other machines only once there is GATEWAY_ADMIN_KEY; docs/security.md says the rest.
ENV NODE_ENV=production \
    HF_HOME=/root/.cache/huggingface \
    GATEWAY_AUTH=none \
    GATEWAY_LISTEN=0.0.0.0:9000 \
    GATEWAY_STATE_DIR=/app/data
EXPOSE 9000
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s --retries=3 CMD ["node", "/app/docker/healthcheck.mjs"]
# Starts as root, and is user 10001 before anything listens: docker/entrypoint.mjs.
ENTRYPOINT ["node", "/app/docker/entrypoint.mjs"]
CMD ["serve"]
