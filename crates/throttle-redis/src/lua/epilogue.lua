  if not format then
    return nil, redis.error_reply('ERR this script has no algorithm ' .. kind)
  end

  -- 2. The branch has charged the rule if all rules allow the request. If not, block the keys that denied it.
  reset_after = reset_after or lifetime
  local starts_block = acquires and not allowed and wait and blocked_until == 0 and block > 0
  if starts_block then
    blocked_until, block_length = start_block(block, wait)
  end

  -- 3. Store a changed state, with a lifetime that ends when the state no longer matters.
  if charges or starts_block or ahead or refunds then
    if blocked_until - now > lifetime then
      lifetime = blocked_until - now
    end
    if others_left > lifetime then
      lifetime = others_left
    end
    local ttl = math.floor((lifetime + 999) / 1000) + ttl_margin
    local tag, bytes = number + flag, nil
    if lifetime > 0 and not others then
      bytes = struct.pack(format, tag + (blocked_until > 0 and BLOCKED or 0), a, b, c, d, e) .. (extra or '')
    elseif others then
      bytes = struct.pack(format, tag, a, b, c, d, e) .. (extra or '')
      bytes = string.char(MIXED + (blocked_until > 0 and BLOCKED or 0)) .. struct.pack('>H', #bytes) .. bytes .. others
    end
    if blocked_until > 0 then
      bytes = bytes .. struct.pack('>dd', blocked_until, block_length)
    end
    if lifetime == 0 then
      redis.call('UNLINK', key)
    elseif others_list then
      redis.call('LSET', key, 0, bytes) -- the entries of the log stay
      redis.call('PEXPIRE', key, ttl)
    elseif kind ~= SLIDING_WINDOW_LOG then
      redis.call('SET', key, bytes, 'PX', ttl)
    else
      if fresh then
        if exists then
          redis.call('UNLINK', key)
        end
        redis.call('RPUSH', key, bytes)
      else
        if replaced then
          redis.call('LSET', key, index, replaced)
        end
        if removed then
          redis.call('LREM', key, -1, removed)
        end
        if dropped > 0 or cut > 0 then
          redis.call('LTRIM', key, dropped, -1 - cut)
        end
        redis.call('LSET', key, 0, bytes)
      end
      if entry then
        redis.call('RPUSH', key, entry)
      end
      redis.call('PEXPIRE', key, ttl)
    end
  end
  if refunds then
    return all_allowed, reply
  end

  local flags = allowed and 1 or 0
  if blocked_until > 0 then
    flags, remaining, reset_after = 2, 0, blocked_until - now
    wait = wait and reset_after
  end
  if wait and (all_allowed or not allowed) then
    flags = flags + 4
  end
  if charges then
    flags = flags + 8
  end
  if others then
    flags = flags + 16
  end
  return all_allowed, struct.pack('>Bddddddd', flags, now, remaining > 0 and remaining or 0, reset_after,
    wait or 0, charged_at or 0, level_hi or 0, level_lo or 0) .. reply
end

local all_allowed, reply = acquire(1, true)
if all_allowed == nil then
  return type(reply) == 'table' and reply or redis.error_reply('RTCORRUPT key ' .. reply)
elseif refunds then
  return redis.status_reply('OK')
end
return reply
