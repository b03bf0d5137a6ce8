# The proxy, built in one stage and run in another that has neither compiler nor npm cache. NODE: the current LTS.
ARG NODE=lts-slim

FROM node:${NODE} AS build
WORKDIR /build
COPY package.json package-lock.json ./
RUN npm ci --ignore-scripts
COPY tsconfig.json tsconfig.build.json ./
COPY src src
RUN npm run build && npm prune --omit=dev --ignore-scripts

FROM node:${NODE}
ENV NODE_ENV=production
WORKDIR /opt/mongo-iam-proxy
COPY --from=build /build/package.json ./
COPY --from=build /build/node_modules node_modules
COPY --from=build /build/dist dist
USER node
EXPOSE 27017 9216
ENTRYPOINT ["node", "dist/cli.js"]
CMD ["serve", "--config", "/etc/mongo-iam-proxy/proxy.yaml"]
