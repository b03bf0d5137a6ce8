# The proxy without the sandbox, its packages, a compiler or an npm cache.
# Node 24 is the active LTS release. NODE: the tag of the base image.
ARG NODE=24-slim

# Compile. The sandbox is here for its types alone.
FROM node:${NODE} AS build
WORKDIR /build
COPY package.json package-lock.json ./
COPY sandbox/package.json sandbox/
RUN npm ci --ignore-scripts
COPY tsconfig.json tsconfig.build.json ./
COPY sandbox/tsconfig.json sandbox/
COPY sandbox/src sandbox/src
COPY src src
RUN npm run build

# Install what the proxy needs at run time.
FROM node:${NODE} AS dependencies
WORKDIR /install
COPY package.json package-lock.json ./
RUN npm ci --omit=dev --ignore-scripts

FROM node:${NODE}
ENV NODE_ENV=production
WORKDIR /opt/mongo-iam-proxy
COPY package.json ./
COPY --from=dependencies /install/node_modules node_modules
COPY --from=build /build/dist dist
COPY web web
USER node
EXPOSE 27017 9216
ENTRYPOINT ["node", "dist/cli.js"]
CMD ["serve", "--config", "/etc/mongo-iam-proxy/proxy.yaml"]
